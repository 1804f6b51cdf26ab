// Which build of the kernels this engine can run, and how its processor multiplies small integers. Relaxed
// SIMD leaves open what a dot product does with a weight's highest bit; one trial at start answers that.

import { GemmaError } from '../../error.ts'
import type { IntegerVariant } from '../../ops/lowering.ts'

export interface Kernels {
  readonly module: WebAssembly.Module
  readonly build: 'relaxed' | 'baseline'
  readonly integers: IntegerVariant
}

export type KernelBuild = Kernels['build']

/** Which kernels: those of inference, or with those of training. */
export type KernelSet = 'kernels' | 'kernels-training'

let cached: Map<string, Promise<Kernels>> | undefined

/** Compiles the kernels once per process; 'auto' takes the relaxed build where it compiles. */
export function loadKernels(
  build: KernelBuild | 'auto' = 'auto',
  set: KernelSet = 'kernels',
): Promise<Kernels> {
  const all = (cached ??= new Map())
  const key = `${set} ${build}`
  const known = all.get(key)
  if (known) return known
  const loading = compile(build, set)
  all.set(key, loading)
  // What could not be fetched once may be there the next time.
  loading.catch(() => all.delete(key))
  return loading
}

async function compile(build: KernelBuild | 'auto', set: KernelSet): Promise<Kernels> {
  if (build !== 'baseline') {
    const bytes = await readAsset(addressOf[`${set}.relaxed`]())
    // An engine without relaxed SIMD refuses the module; that is the test.
    if (build === 'relaxed' || WebAssembly.validate(bytes)) {
      const module = await WebAssembly.compile(bytes)
      const int8 = probe(module)
      // Where bytes with the highest bit set do not multiply exactly, the dot product is made of several
      // instructions, and sums of pairs are cheaper.
      return { module, build: 'relaxed', integers: { int4: int8 === 'dot16' ? 'pairs8' : 'dot8', int8 } }
    }
  }
  const module = await WebAssembly.compile(await readAsset(addressOf[`${set}.baseline`]()))
  return { module, build: 'baseline', integers: { int4: 'dot16', int8: 'dot16' } }
}

/** Each in full, because that is how bundlers recognise files they have to take along. */
const addressOf: Readonly<Record<`${KernelSet}.${KernelBuild}`, () => URL>> = {
  'kernels.relaxed': () => new URL('./kernels.relaxed.wasm', import.meta.url),
  'kernels.baseline': () => new URL('./kernels.baseline.wasm', import.meta.url),
  'kernels-training.relaxed': () => new URL('./kernels-training.relaxed.wasm', import.meta.url),
  'kernels-training.baseline': () => new URL('./kernels-training.baseline.wasm', import.meta.url),
}

async function readAsset(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  if (url.protocol === 'file:') {
    // No import: bundlers for browsers would follow it, and some stop at node:.
    return new Uint8Array(await process.getBuiltinModule('node:fs/promises').readFile(url))
  }
  const response = await fetch(url)
  if (response.ok) return new Uint8Array(await response.arrayBuffer())
  await response.body?.cancel()
  throw new GemmaError(
    'file',
    `The kernels cannot be fetched: ${url} answers ${response.status}.`,
    'Serve the .wasm files where the modules of gemma-ts lie, or where your bundler puts them.',
  )
}

/**
 * 'dot8u' where the weight's byte counts as unsigned (x86 with VNNI), 'dot8s' where as signed (Arm); anything
 * else (older x86, where pairs of products saturate) must use 16-bit products.
 */
function probe(module: WebAssembly.Module): IntegerVariant['int8'] {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true })
  const { exports } = new WebAssembly.Instance(module, { env: { memory } })
  const dot = (x: number, w: number): number => {
    new Int8Array(memory.buffer, 1024, 16).fill(x)
    new Int8Array(memory.buffer, 1040, 16).fill(w)
    ;(exports.probeDot as (args: number, worker: number, workers: number) => void)(1024, 0, 1)
    return new Int32Array(memory.buffer, 1056, 4)[0]!
  }
  const pairs = [127, -127].flatMap((x) => [127, -128, -1, 1].map((w) => [x, w] as const))
  if (pairs.every(([x, w]) => dot(x, w) === 4 * x * (w & 255))) return 'dot8u'
  if (pairs.every(([x, w]) => dot(x, w) === 4 * x * w)) return 'dot8s'
  return 'dot16'
}
