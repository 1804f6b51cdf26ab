// What a model is, whether it will run here, and how it shall be loaded: before a byte of its weights is read.

import { useState } from 'preact/hooks'
import { formatBytes, formatContainer, formatCount, formatModel } from '../../src/format.ts'
import type { WebInspection, WebMachine } from '../../src/index.web.ts'
import type { LoadOptions, Source } from '../engine/protocol.ts'

export interface InspectionCardProps {
  readonly chosen: WebInspection
  readonly source: Source
  readonly machine: WebMachine | undefined
  /** Whether this browser keeps files for pages. */
  readonly canKeep: boolean
  readonly disabled: boolean
  readonly onContext: (contextLength: number) => void
  readonly onLoad: (options: LoadOptions, keep: boolean) => void
}

const PRECISIONS = { auto: 'as stored', bf16: 'bf16', int8: 'int8', int4: 'int4', f32: 'f32' } as const
const DEVICES = { auto: 'the best there is', cpu: 'CPU', webgpu: 'GPU (WebGPU)' } as const
const CONTEXTS = [512, 1024, 2048, 4096, 8192, 16384, 32768]

export function InspectionCard({
  chosen,
  source,
  machine,
  canKeep,
  disabled,
  onContext,
  onLoad,
}: InspectionCardProps) {
  const [dtype, setDtype] = useState<LoadOptions['dtype']>('auto')
  const [device, setDevice] = useState<LoadOptions['device']>('auto')
  const [threads, setThreads] = useState<number>()
  const mayKeep = canKeep && (source.kind === 'files' || source.kind === 'url')
  const [keep, setKeep] = useState(true)
  const { parameters } = chosen
  const most = (chosen.config?.max_position_embeddings as number | undefined) ?? 8192
  // What is reckoned with arrives a moment after what was chosen.
  const [contextLength, setContextLength] = useState(chosen.contextLength ?? most)
  const contexts = [...new Set([...CONTEXTS.filter((length) => length < most), contextLength, most])].sort(
    (a, b) => a - b,
  )
  return (
    <article class="card" aria-label={`About ${chosen.model}`}>
      <h2>{chosen.model}</h2>
      <p>{kindOf(chosen)}</p>
      {parameters && (
        <p class="quiet">
          {formatCount(parameters.total)} parameters, {formatCount(parameters.embedding)} of them in the
          embedding; up to {formatCount(most)} tokens of context
        </p>
      )}
      <Needs chosen={chosen} dtype={dtype} machine={machine} />
      <form
        class="options"
        onSubmit={(event) => {
          event.preventDefault()
          onLoad({ dtype, device, threads, contextLength }, mayKeep && keep)
        }}
      >
        <Select label="Precision" value={dtype} options={PRECISIONS} onChange={setDtype} />
        <Select label="Runs on" value={device} options={DEVICES} onChange={setDevice} />
        <label>
          Context
          <select
            value={contextLength}
            onChange={(event) => {
              const length = Number(event.currentTarget.value)
              setContextLength(length)
              onContext(length)
            }}
          >
            {contexts.map((length) => (
              <option key={length} value={length}>
                {formatCount(length)} tokens
              </option>
            ))}
          </select>
        </label>
        {machine !== undefined && machine.threads > 0 && (
          <label>
            Threads
            <select
              value={threads ?? ''}
              onChange={(event) => {
                const { value } = event.currentTarget
                setThreads(value === '' ? undefined : Number(value))
              }}
            >
              <option value="">automatic</option>
              {Array.from({ length: machine.threads + 1 }, (_, count) => (
                <option key={count} value={count}>
                  {count === 0 ? 'none' : count}
                </option>
              ))}
            </select>
          </label>
        )}
        {mayKeep && (
          <label class="check">
            <input
              type="checkbox"
              checked={keep}
              onChange={(event) => setKeep(event.currentTarget.checked)}
            />
            Keep it in this browser ({formatBytes(chosen.files.reduce((sum, { size }) => sum + size, 0))})
          </label>
        )}
        <button type="submit" class="main" disabled={disabled}>
          Load
        </button>
      </form>
    </article>
  )
}

function kindOf({ generation, size, container, bytes, dtypes, unknown }: WebInspection): string {
  const name = generation === null ? 'Gemma' : formatModel(generation, size)
  const file = container === null ? '' : `${formatContainer(container)}, `
  const types = dtypes === null ? '' : ` (${Object.keys(dtypes).join(', ')})`
  const ignored = unknown.length === 0 ? '' : `; ${unknown.length} tensors of it are not used`
  return `${name}; ${file}${formatBytes(bytes)} of weights${types}${ignored}`
}

/** Memory by precision, with a word on what this machine has. */
function Needs({
  chosen,
  dtype,
  machine,
}: {
  chosen: WebInspection
  dtype: LoadOptions['dtype']
  machine: WebMachine | undefined
}) {
  const row = chosen.precisions.find((one) => one.dtype === dtype)
  return (
    <>
      <table>
        <caption>Memory with {formatCount(chosen.contextLength ?? 0)} tokens of context</caption>
        <thead>
          <tr>
            <th scope="col">Precision</th>
            <th scope="col">weights</th>
            <th scope="col">cache</th>
            <th scope="col">in all</th>
            <th scope="col">runs here</th>
          </tr>
        </thead>
        <tbody>
          {chosen.precisions.map(({ dtype: name, weights, kv, total, fits }) => (
            <tr key={name} class={name === dtype ? 'current' : undefined}>
              <th scope="row">{PRECISIONS[name as keyof typeof PRECISIONS]}</th>
              <td>{formatBytes(weights)}</td>
              <td>{formatBytes(kv)}</td>
              <td>{formatBytes(total)}</td>
              <td>{verdict(fits, total, machine)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {row?.fits === false && (
        <p class="warning" role="status">
          This will probably not fit: choose a narrower precision or a shorter context.
        </p>
      )}
    </>
  )
}

/** Browsers admit to a few GB at most, so a "no" is a guess where the machine may have more. */
function verdict(fits: boolean | null, total: number, machine: WebMachine | undefined): string {
  if (fits === null) return total < 2e9 ? 'probably' : 'the browser does not say'
  if (fits) return 'yes'
  return machine?.memory !== null && (machine?.memory ?? 0) >= 8 * 2 ** 30
    ? 'if there is more memory than it says'
    : 'no'
}

interface SelectProps<T extends string> {
  readonly label: string
  readonly value: T
  readonly options: Readonly<Record<T, string>>
  readonly onChange: (value: T) => void
}

function Select<T extends string>({ label, value, options, onChange }: SelectProps<T>) {
  return (
    <label>
      {label}
      <select value={value} onChange={(event) => onChange(event.currentTarget.value as T)}>
        {(Object.entries(options) as [T, string][]).map(([name, text]) => (
          <option key={name} value={name}>
            {text}
          </option>
        ))}
      </select>
    </label>
  )
}
