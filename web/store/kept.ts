// Models that are kept in this browser, in the origin's private file system: not in the Cache API, whose entries may not
// pass 2 GB everywhere. One folder for each model; its manifest says what belongs into it, and it is whole when every
// file has its size. For workers only: files are written through synchronous handles.

import { addressBeside, addressOf, GemmaError, type WebModelSource } from '../../src/index.web.ts'
import type { KeptModel, Progress, Storage, WantedFile } from '../engine/protocol.ts'
import { copyFile, downloadFile, type Target } from './fetch-file.ts'

interface Manifest {
  readonly version: 1
  readonly name: string
  readonly url?: string
  readonly files: readonly WantedFile[]
}

/** What a model is opened from, see engine/methods.ts. */
interface Origin {
  readonly source: WebModelSource | undefined
  readonly name: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface KeepOptions {
  readonly signal: AbortSignal
  readonly onProgress: (progress: Progress) => void
}

const FOLDER = 'gemma-models'
const MANIFEST = 'manifest.json'
/** What must stay free beside a model, for the browser's own use. */
const SPARE_BYTES = 50e6
const PROGRESS_MS = 100

export async function storage(): Promise<Storage> {
  const folders = await root()
  const { usage = 0, quota = 0 } = await navigator.storage.estimate()
  const models: KeptModel[] = []
  for await (const [id, handle] of folders.entries()) {
    if (handle.kind !== 'directory') continue
    const folder = handle as FileSystemDirectoryHandle
    const manifest = await readManifest(folder)
    // Without a readable manifest it is nobody's: an attempt that ended before it began.
    if (manifest === undefined) continue
    models.push({ id, name: manifest.name, url: manifest.url, ...(await amounts(folder, manifest.files)) })
  }
  return { models: models.sort((a, b) => a.name.localeCompare(b.name)), usage, quota }
}

/** The model's files, to be loaded. Throws GemmaError 'file' when it is not here, or not whole. */
export async function openKept(id: string): Promise<{ source: readonly File[]; name: string }> {
  const { folder, manifest } = await find(id)
  const { bytes, here } = await amounts(folder, manifest.files)
  if (here < bytes) {
    throw new GemmaError(
      'file',
      `Of ${manifest.name} only ${here} of ${bytes} bytes are here.`,
      'Fetch the rest.',
    )
  }
  const source = await Promise.all(
    manifest.files.map(async ({ name }) => (await folder.getFileHandle(name)).getFile()),
  )
  return { source, name: manifest.name }
}

export async function forget(id: string): Promise<void> {
  await exclusively(id, async () => {
    await (await root()).removeEntry(id, { recursive: true })
  })
}

/** Copies or downloads files into this browser and gives the model's id. Throws GemmaError. */
export async function keep(
  origin: Origin,
  files: readonly WantedFile[],
  options: KeepOptions,
): Promise<string> {
  const url = typeof origin.source === 'string' ? origin.source : undefined
  const id = await idOf(origin.name, files)
  await exclusively(id, async () => {
    const folder = await (await root()).getDirectoryHandle(id, { create: true })
    try {
      await write(
        folder,
        MANIFEST,
        JSON.stringify({ version: 1, name: origin.name, url, files } satisfies Manifest),
      )
      await fetchAll(folder, files, origin, options)
    } catch (error) {
      // What came from a picked file cannot be taken up again.
      if (url === undefined) await (await root()).removeEntry(id, { recursive: true })
      throw storageError(error)
    }
  })
  return id
}

/** Goes on with a download where it was broken off. Throws GemmaError. */
export async function resume(id: string, headers: Origin['headers'], options: KeepOptions): Promise<void> {
  await exclusively(id, async () => {
    const { folder, manifest } = await find(id)
    const { name, url, files } = manifest
    try {
      await fetchAll(folder, files, { source: url, name, headers }, options)
    } catch (error) {
      throw storageError(error)
    }
  })
}

async function fetchAll(
  folder: FileSystemDirectoryHandle,
  files: readonly WantedFile[],
  origin: Origin,
  { signal, onProgress }: KeepOptions,
): Promise<void> {
  const { bytes, here } = await amounts(folder, files)
  await checkRoom(origin.name, bytes - here)
  const progress = progressOf(typeof origin.source === 'string' ? 'download' : 'copy', bytes, onProgress)
  for (const file of files) await fetchInto(folder, file, origin, progress, signal)
}

async function find(id: string): Promise<{ folder: FileSystemDirectoryHandle; manifest: Manifest }> {
  const folder = await (await root()).getDirectoryHandle(id).catch(() => undefined)
  const manifest = folder && (await readManifest(folder))
  if (folder !== undefined && manifest !== undefined) return { folder, manifest }
  throw new GemmaError('file', 'This model is no longer kept in this browser.', 'Add it again.')
}

async function fetchInto(
  folder: FileSystemDirectoryHandle,
  { name, size }: WantedFile,
  { source, headers }: Origin,
  progress: Target['advance'],
  signal: AbortSignal,
): Promise<void> {
  const handle = await folder.getFileHandle(name, { create: true })
  const access = await handle.createSyncAccessHandle()
  const target: Target = { name, size, access, advance: progress }
  try {
    if (typeof source === 'string') {
      const address = addressOf(source)
      await downloadFile(addressBeside(address, name), target, { headers, signal })
    } else {
      await copyFile(pickedFile(source, name), target, signal)
    }
  } finally {
    access.flush()
    access.close()
  }
}

function pickedFile(source: WebModelSource | undefined, name: string): Blob {
  const files = source instanceof Blob ? [source] : Array.isArray(source) ? (source as readonly File[]) : []
  const file = files.find((one) => files.length === 1 || (one as File).name === name)
  if (file) return file
  throw new GemmaError('file', `${name} is not among the files that were picked.`)
}

/** Adds up what is done over all files and says so ten times a second, the last word included. */
function progressOf(
  phase: Progress['phase'],
  totalBytes: number,
  onProgress: (progress: Progress) => void,
): Target['advance'] {
  let bytes = 0
  let current = ''
  let timer: ReturnType<typeof setTimeout> | undefined
  return (name, more) => {
    bytes += more
    current = name
    if (timer !== undefined) return
    timer = setTimeout(() => {
      timer = undefined
      onProgress({ phase, name: current, bytes, totalBytes })
    }, PROGRESS_MS)
  }
}

async function checkRoom(name: string, bytes: number): Promise<void> {
  const { usage = 0, quota = Number.POSITIVE_INFINITY } = await navigator.storage.estimate()
  if (bytes + SPARE_BYTES <= quota - usage) return
  const gigabytes = (value: number): string => `${(Math.max(0, value) / 1e9).toFixed(2)} GB`
  throw new GemmaError(
    'memory',
    `${name} needs ${gigabytes(bytes)} of storage, but this browser grants ${gigabytes(quota - usage)} more.`,
    'Delete a model that is kept here, free space on the disk, or load it without keeping it.',
  )
}

/** Sizes of what belongs to a model and of what of it is here. */
async function amounts(
  folder: FileSystemDirectoryHandle,
  files: readonly WantedFile[],
): Promise<{ bytes: number; here: number }> {
  let bytes = 0
  let here = 0
  for (const { name, size } of files) {
    bytes += size
    const handle = await folder.getFileHandle(name).catch(() => undefined)
    if (handle) here += Math.min(size, (await handle.getFile()).size)
  }
  return { bytes, here }
}

async function readManifest(folder: FileSystemDirectoryHandle): Promise<Manifest | undefined> {
  const handle = await folder.getFileHandle(MANIFEST).catch(() => undefined)
  if (handle === undefined) return undefined
  try {
    const manifest = JSON.parse(await (await handle.getFile()).text()) as Partial<Manifest>
    const whole = manifest.version === 1 && typeof manifest.name === 'string' && Array.isArray(manifest.files)
    return whole ? (manifest as Manifest) : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

async function write(folder: FileSystemDirectoryHandle, name: string, text: string): Promise<void> {
  const access = await (await folder.getFileHandle(name, { create: true })).createSyncAccessHandle()
  try {
    access.truncate(0)
    access.write(new TextEncoder().encode(text), { at: 0 })
    access.flush()
  } finally {
    access.close()
  }
}

async function root(): Promise<FileSystemDirectoryHandle> {
  const { storage: manager } = navigator as Partial<Navigator>
  const { FileSystemFileHandle: handle } = globalThis as Partial<typeof globalThis>
  if (typeof manager?.getDirectory !== 'function' || handle?.prototype.createSyncAccessHandle === undefined) {
    throw keepsNothing()
  }
  try {
    return await (await manager.getDirectory()).getDirectoryHandle(FOLDER, { create: true })
  } catch (cause) {
    // A private window, or storage that is switched off; each browser has a name of its own for it.
    throw cause instanceof DOMException ? keepsNothing(cause) : cause
  }
}

function keepsNothing(cause?: DOMException): GemmaError {
  const what = cause === undefined ? '' : ` (${cause.message})`
  return new GemmaError(
    'unsupported',
    `This browser keeps no files for pages here${what}.`,
    'Load the model without keeping it, or use a newer browser and no private window, on a page served by https or from localhost.',
    { cause },
  )
}

/** Two tabs must not write the same model, nor one delete what another writes. */
async function exclusively(id: string, work: () => Promise<void>): Promise<void> {
  await navigator.locks.request(`${FOLDER}/${id}`, { ifAvailable: true }, async (lock) => {
    if (lock !== null) return work()
    throw new GemmaError(
      'file',
      'Another tab is fetching or deleting this model.',
      'Wait for it, then try again.',
    )
  })
}

/** Readable, and different for models that share a name. */
async function idOf(name: string, files: readonly WantedFile[]): Promise<string> {
  const text = JSON.stringify([name, files.map((file) => [file.name, file.size])])
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)))
  const hex = [...digest.subarray(0, 5)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  const slug = name.replace(/^https?:\/\//, '').replace(/[^\w.-]+/g, '-')
  return `${slug.slice(-60).replace(/^[-.]+/, '')}-${hex}`
}

function storageError(error: unknown): unknown {
  if (!(error instanceof DOMException)) return error
  if (error.name === 'QuotaExceededError') {
    return new GemmaError(
      'memory',
      'The storage of this browser is full.',
      'Delete a model that is kept here.',
    )
  }
  if (error.name === 'NoModificationAllowedError') {
    return new GemmaError('file', 'Another tab is using this model.', 'Close it, then try again.')
  }
  return error
}
