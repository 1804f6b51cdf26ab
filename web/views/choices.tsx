// The models that are at hand: the one that ships with the page, those that were kept, and those that the server of
// this page offers.

import { useEffect, useState } from 'preact/hooks'
import { formatBytes } from '../../src/format.ts'
import type { KeptModel, Source, Storage } from '../engine/protocol.ts'

/** What the model is called that ships with the package, here and by `gemma web`. */
const BUILT_IN = 'Gemma micro'

export interface ChoicesProps {
  /** Goes along with downloads. */
  readonly token: string
  readonly storage: Storage
  readonly disabled: boolean
  readonly onChoose: (source: Source) => void
  readonly onTry: (source: Source) => void
  readonly onResume: (id: string, token: string) => void
  readonly onForget: (id: string) => void
}

export function Choices(props: ChoicesProps) {
  const { storage, disabled, onChoose, onTry } = props
  const served = useServed()
  return (
    <>
      <h2>Choose a model</h2>
      <ul class="models">
        <li>
          <div>
            <b>{BUILT_IN}</b>
            <small>
              1.2 million parameters, made by this project to show how a Gemma is made; it knows a few closed
              kinds of questions and is here at once
            </small>
          </div>
          <div class="actions">
            <button
              type="button"
              class="main"
              disabled={disabled}
              onClick={() => onTry({ kind: 'built-in' })}
            >
              Try it
            </button>
            <button type="button" disabled={disabled} onClick={() => onChoose({ kind: 'built-in' })}>
              Options…
            </button>
          </div>
        </li>
        {storage.models.map((model) => (
          <Kept key={model.id} model={model} {...props} />
        ))}
        {served.map(({ name, url, files }) => (
          <li key={url}>
            <div>
              <b>{name}</b>
              <small>
                {formatBytes(files.reduce((sum, { bytes }) => sum + bytes, 0))}, offered by this server
              </small>
            </div>
            <div class="actions">
              <button
                type="button"
                disabled={disabled}
                onClick={() => onChoose({ kind: 'url', url: new URL(url, document.baseURI).href })}
              >
                Choose
              </button>
            </div>
          </li>
        ))}
      </ul>
    </>
  )
}

function Kept({ model, token, disabled, onChoose, onResume, onForget }: ChoicesProps & { model: KeptModel }) {
  const { id, name, bytes, here, url } = model
  const [asking, setAsking] = useState(false)
  const whole = here === bytes
  return (
    <li>
      <div>
        <b>{name}</b>
        <small>
          {whole
            ? `${formatBytes(bytes)}, kept in this browser`
            : `${formatBytes(here)} of ${formatBytes(bytes)} are here${url === undefined ? '; pick the file again to have all of it' : ''}`}
        </small>
      </div>
      <div class="actions">
        {whole && (
          <button type="button" disabled={disabled} onClick={() => onChoose({ kind: 'kept', id })}>
            Choose
          </button>
        )}
        {!whole && url !== undefined && (
          <button type="button" disabled={disabled} onClick={() => onResume(id, token)}>
            Fetch the rest
          </button>
        )}
        {asking ? (
          <>
            <button type="button" class="danger" disabled={disabled} onClick={() => onForget(id)}>
              Delete {name}
            </button>
            <button type="button" onClick={() => setAsking(false)}>
              Keep it
            </button>
          </>
        ) : (
          <button
            type="button"
            aria-label={`Delete ${name}…`}
            disabled={disabled}
            onClick={() => setAsking(true)}
          >
            Delete…
          </button>
        )}
      </div>
    </li>
  )
}

interface Served {
  readonly name: string
  readonly url: string
  readonly files: readonly { readonly bytes: number }[]
}

/** What `gemma web MODEL` offers beside the page; other servers have no such list. */
function useServed(): readonly Served[] {
  const [served, setServed] = useState<readonly Served[]>([])
  useEffect(() => {
    const list = async (): Promise<void> => {
      const response = await fetch('models/index.json').catch(() => undefined)
      if (!response?.ok || !response.headers.get('content-type')?.includes('json')) return
      const models = (await response.json()) as readonly Served[]
      // The page has the small one itself.
      setServed(models.filter(({ name }) => name !== BUILT_IN))
    }
    list().catch((error: unknown) =>
      console.warn('The list of the models that this server offers is broken.', error),
    )
  }, [])
  return served
}
