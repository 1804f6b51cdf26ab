// What this browser offers, in plain words, and what to do where it offers less than it could.

import { formatBytes } from '../../src/format.ts'
import type { WebMachine } from '../../src/index.web.ts'
import type { Storage } from '../engine/protocol.ts'

export interface MachineNoteProps {
  readonly machine: WebMachine
  /** undefined where the browser keeps nothing. */
  readonly storage: Storage | undefined
}

export function MachineNote({ machine, storage }: MachineNoteProps) {
  const { threads, isolated, gpu, memory } = machine
  return (
    <aside class="machine" aria-label="This machine">
      <h2>This machine</h2>
      <ul>
        <li>
          {threads > 0
            ? `${threads} threads`
            : isolated
              ? 'One thread: this browser shares no memory between threads.'
              : 'One thread: the server of this page does not isolate it from other origins (headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp), so models run slower than they could.'}
        </li>
        <li>{gpuText(gpu)}</li>
        <li>
          {memory === null
            ? 'The browser does not say how much memory there is.'
            : `About ${formatBytes(memory)} of memory${memory >= 8 * 2 ** 30 ? ', or more: browsers admit to no more' : ''}`}
        </li>
        {storage === undefined ? (
          <li>
            Models cannot be kept here: this browser stores no files for the page (a private window, perhaps).
          </li>
        ) : (
          storage.quota > 0 && (
            <li>
              {formatBytes(storage.usage)} kept here, of {formatBytes(storage.quota)} that the browser grants
            </li>
          )
        )}
      </ul>
    </aside>
  )
}

function gpuText(gpu: WebMachine['gpu']): string {
  if (gpu === null) return 'No GPU: this browser offers no WebGPU here. Models run on the CPU.'
  const extras = ['shader-f16', 'subgroups'].filter((feature) => gpu.features.includes(feature))
  const with_ = extras.length === 0 ? '' : ` with ${extras.join(' and ')}`
  if (gpu.software)
    return `${gpu.name}${with_}: no GPU but a program that plays one, slower than the CPU itself`
  return `GPU: ${gpu.name}${with_}, buffers of up to ${formatBytes(gpu.largestBuffer)}`
}
