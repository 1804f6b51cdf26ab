// Adding a model: files that are dropped or picked, a folder, an address, a Hugging Face id.

import { useEffect, useState } from 'preact/hooks'
import type { Source } from '../engine/protocol.ts'

export interface AddModelProps {
  readonly disabled: boolean
  /** For gated models; held by the page alone, and gone with it. */
  readonly token: string
  readonly onToken: (token: string) => void
  readonly onChoose: (source: Source) => void
}

export function AddModel({ disabled, token, onToken, onChoose }: AddModelProps) {
  const [url, setUrl] = useState('')
  const take = (files: readonly File[]): void => {
    if (files.length > 0) onChoose({ kind: 'files', files })
  }
  const picked = (event: Event): void => {
    const input = event.currentTarget as HTMLInputElement
    take(atTop([...(input.files ?? [])]))
    // The same files can be picked again.
    input.value = ''
  }
  const over = useDrop((transfer) => {
    if (!disabled) void dropped(transfer).then(take)
  })
  return (
    <>
      <h2>Add one</h2>
      <div class={over ? 'drop over' : 'drop'}>
        <p>
          Drop a <code>.gguf</code> file on this page, or <code>model.safetensors</code> with{' '}
          <code>config.json</code> and <code>tokenizer.model</code>, or a folder that holds them.
        </p>
        <label class="button">
          Pick files
          <input type="file" multiple disabled={disabled} onChange={picked} />
        </label>
        <label class="button">
          Pick a folder
          <input type="file" {...FOLDER} disabled={disabled} onChange={picked} />
        </label>
      </div>
      <form
        class="address"
        onSubmit={(event) => {
          event.preventDefault()
          if (url.trim() !== '') onChoose({ kind: 'url', url: url.trim(), token: token.trim() })
        }}
      >
        <label>
          Address or Hugging Face id
          <input
            value={url}
            placeholder="google/gemma-2b-it, or https://…/model.gguf"
            spellcheck={false}
            autocapitalize="off"
            onInput={(event) => setUrl(event.currentTarget.value)}
          />
        </label>
        <label>
          Access token, for gated models
          <input
            type="password"
            value={token}
            autocomplete="off"
            placeholder="stays in this page"
            onInput={(event) => onToken(event.currentTarget.value)}
          />
        </label>
        <button type="submit" disabled={disabled || url.trim() === ''}>
          Look at it
        </button>
      </form>
    </>
  )
}

/** Not in any standard, but in every browser. */
const FOLDER = { webkitdirectory: true }

/** Hears what is dropped anywhere on the page; says whether something is held over it. */
function useDrop(onDrop: (transfer: DataTransfer) => void): boolean {
  const [over, setOver] = useState(false)
  useEffect(() => {
    const drag = (event: DragEvent): void => {
      event.preventDefault()
      setOver(true)
    }
    const leave = (event: DragEvent): void => {
      if (event.relatedTarget === null) setOver(false)
    }
    const drop = (event: DragEvent): void => {
      event.preventDefault()
      setOver(false)
      if (event.dataTransfer) onDrop(event.dataTransfer)
    }
    addEventListener('dragover', drag)
    addEventListener('dragleave', leave)
    addEventListener('drop', drop)
    return () => {
      removeEventListener('dragover', drag)
      removeEventListener('dragleave', leave)
      removeEventListener('drop', drop)
    }
  })
  return over
}

/** Of a picked folder only what lies in it directly: checkpoints have no folders of their own. */
function atTop(files: readonly File[]): readonly File[] {
  return files.filter(({ webkitRelativePath }) => webkitRelativePath.split('/').length <= 2)
}

/** Files that were dropped, and those of a folder that was. */
async function dropped({ items, files }: DataTransfer): Promise<readonly File[]> {
  // Entries must be taken before the first wait: the list is emptied after the event.
  const entries = [...items].map((item) => item.webkitGetAsEntry())
  const folders = entries.filter((entry) => entry?.isDirectory) as FileSystemDirectoryEntry[]
  if (folders.length === 0) return [...files]
  const inside = await Promise.all(folders.map(filesIn))
  return inside.flat()
}

async function filesIn(folder: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = folder.createReader()
  const found: File[] = []
  for (;;) {
    // Browsers give at most a hundred at a time.
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    )
    if (entries.length === 0) return found
    for (const entry of entries) {
      if (!entry.isFile) continue
      found.push(
        await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)),
      )
    }
  }
}
