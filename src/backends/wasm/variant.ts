// Which build of the kernels this engine can run, and how its processor multiplies small integers. Relaxed
// SIMD leaves open what a dot product does with a weight's highest bit; one trial at start answers that.

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
  cached ??= new Map()
  const key = `${set} ${build}`
  const known = cached.get(key)
  if (known) return known
  const loading = compile(build, set)
  cached.set(key, loading)
  return loading
}

async function compile(build: KernelBuild | 'auto', set: KernelSet): Promise<Kernels> {
  if (build !== 'baseline') {
    const bytes = await readAsset(`${set}.relaxed.wasm`)
    // An engine without relaxed SIMD refuses the module; that is the test.
    if (build === 'relaxed' || WebAssembly.validate(bytes)) {
      const module = await WebAssembly.compile(bytes)
      const int8 = probe(module)
      // Where bytes with the highest bit set do not multiply exactly, the dot product is made of several
      // instructions, and sums of pairs are cheaper.
      return { module, build: 'relaxed', integers: { int4: int8 === 'dot16' ? 'pairs8' : 'dot8', int8 } }
    }
  }
  const module = await WebAssembly.compile(await readAsset(`${set}.baseline.wasm`))
  return { module, build: 'baseline', integers: { int4: 'dot16', int8: 'dot16' } }
}

async function readAsset(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const url = new URL(`./${name}`, import.meta.url)
  if (url.protocol !== 'file:') return new Uint8Array(await (await fetch(url)).arrayBuffer())
  const { readFile } = await import('node:fs/promises')
  return new Uint8Array(await readFile(url))
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
