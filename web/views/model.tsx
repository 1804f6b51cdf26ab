// Choosing a model: the one that ships, those kept in this browser, those the server offers, or one that is added; then
// what it is, whether it will run here, and loading it.

import { useEffect, useRef, useState } from 'preact/hooks'
import type { WebInspection, WebMachine } from '../../src/index.web.ts'
import { type Engine, messageOf } from '../engine/client.ts'
import type { Loaded, LoadOptions, Progress, Source, Storage } from '../engine/protocol.ts'
import { AddModel } from './add-model.tsx'
import { Choices } from './choices.tsx'
import { Fault } from './fault.tsx'
import { InspectionCard } from './inspection.tsx'
import { MachineNote } from './machine.tsx'
import { ProgressBar } from './progress.tsx'

export interface ModelViewProps {
  readonly engine: Engine
  readonly loaded: Loaded | undefined
  /** What was loaded gives way. */
  readonly onLoading: () => void
  readonly onLoaded: (loaded: Loaded) => void
}

interface Chosen {
  readonly source: Source
  readonly inspection: WebInspection
}

const NOTHING: Storage = { models: [], usage: 0, quota: 0 }

export function ModelView({ engine, loaded, onLoading, onLoaded }: ModelViewProps) {
  const [machine, setMachine] = useState<WebMachine>()
  const [storage, setStorage] = useState<Storage>(NOTHING)
  const [canKeep, setCanKeep] = useState(true)
  const [chosen, setChosen] = useState<Chosen>()
  const [progress, setProgress] = useState<Progress>()
  const [token, setToken] = useState('')
  const [busy, setBusy] = useState(false)
  const [fault, setFault] = useState<string>()
  const work = useRef<AbortController>(undefined)
  const asked = useRef<number>(undefined)
  const card = useRef<HTMLDivElement>(null)

  const refresh = async (): Promise<void> => {
    try {
      setStorage(await engine.call('storage', []))
    } catch (error) {
      // A browser that keeps nothing can still run models.
      if ((error as { code?: string }).code === 'unsupported') setCanKeep(false)
      else setFault(messageOf(error))
    }
  }
  useEffect(() => {
    engine.call('machine', []).then(setMachine, (error) => setFault(messageOf(error)))
    void refresh()
  }, [engine])

  /** One thing at a time; it can be cancelled, and what goes wrong is shown. */
  const attempt = async (doing: (signal: AbortSignal) => Promise<void>): Promise<void> => {
    work.current?.abort()
    const controller = new AbortController()
    work.current = controller
    setBusy(true)
    setFault(undefined)
    try {
      await doing(controller.signal)
    } catch (error) {
      if (work.current === controller) setFault(messageOf(error))
    } finally {
      if (work.current === controller) {
        setBusy(false)
        setProgress(undefined)
      }
      void refresh()
    }
  }

  const choose = (source: Source): Promise<void> =>
    attempt(async (signal) => {
      setChosen(undefined)
      const inspection = await engine.call('inspect', [source], { signal })
      setChosen({ source, inspection })
      requestAnimationFrame(() => card.current?.focus())
    })

  /** Memory with another context; the last one that was asked for counts. */
  const reckon = (contextLength: number): void => {
    if (!chosen) return
    const { source } = chosen
    asked.current = contextLength
    engine.call('inspect', [source, contextLength]).then(
      (inspection) => {
        if (asked.current === contextLength)
          setChosen((now) => (now?.source === source ? { source, inspection } : now))
      },
      (error) => setFault(messageOf(error)),
    )
  }

  const keep = async ({ source, inspection }: Chosen, signal: AbortSignal): Promise<Source> => {
    setProgress({ phase: source.kind === 'url' ? 'download' : 'copy', name: '', bytes: 0, totalBytes: 0 })
    // The browser may otherwise delete what is kept when the disk is full. Nothing waits for it: Firefox asks the person,
    // who may never answer.
    navigator.storage?.persist?.().catch((error: unknown) => console.warn(error))
    const id = await engine.call('keep', [source, inspection.files], { signal, onEvent: setProgress })
    return { kind: 'kept', id }
  }

  const load = (source: Source, options: LoadOptions, toKeep?: Chosen): Promise<void> =>
    attempt(async (signal) => {
      const from = toKeep ? await keep(toKeep, signal) : source
      onLoading()
      setProgress({ phase: 'load', name: '', bytes: 0, totalBytes: 0 })
      onLoaded(await engine.call('load', [from, options], { signal, onEvent: setProgress }))
      setChosen(undefined)
    })

  return (
    <>
      <Fault message={fault} />
      <Choices
        token={token}
        storage={storage}
        disabled={busy}
        onChoose={choose}
        onTry={(source) => load(source, { device: 'auto', dtype: 'auto' })}
        onResume={(id, token) =>
          attempt(async (signal) => {
            await engine.call('resume', [id, token], { signal, onEvent: setProgress })
          })
        }
        onForget={(id) =>
          attempt(async () => {
            await engine.call('forget', [id])
          })
        }
      />
      <AddModel disabled={busy} token={token} onToken={setToken} onChoose={choose} />
      {busy && progress === undefined && (
        <p role="status" class="quiet">
          Looking at the model…
        </p>
      )}
      {chosen && (
        <div ref={card} tabIndex={-1}>
          <InspectionCard
            key={chosen.inspection.model}
            chosen={chosen.inspection}
            source={chosen.source}
            machine={machine}
            canKeep={canKeep}
            disabled={busy}
            onContext={reckon}
            onLoad={(options, keepIt) => load(chosen.source, options, keepIt ? chosen : undefined)}
          />
        </div>
      )}
      {progress && <ProgressBar progress={progress} onCancel={() => work.current?.abort()} />}
      {loaded && (
        <p class="quiet">
          {loaded.name} is loaded.{' '}
          <button
            type="button"
            disabled={busy}
            onClick={() =>
              attempt(async () => {
                await engine.call('unload', [])
                onLoading()
              })
            }
          >
            Unload it
          </button>
        </p>
      )}
      {machine && <MachineNote machine={machine} storage={canKeep ? storage : undefined} />}
    </>
  )
}
