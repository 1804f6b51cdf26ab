// dropout: units of one value; the hash is dropout.ts's.
import { RUN_SEED, integer, pointer, real, share, validRows } from '../../backends/wasm/runtime.wasm'

// @ts-ignore: decorator
@inline
function mix(value: u32): u32 {
  let h = value
  h = (h ^ (h >> 16)) * 0x85ebca6b
  h = (h ^ (h >> 13)) * 0xc2b2ae35
  return h ^ (h >> 16)
}

/** args: x, out, columns, rate, salt */
export function dropout(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const out = pointer(args, 1)
  const count = validRows(0x7fffffff) * integer(args, 2)
  const rate = real(args, 3)
  const seed = mix(load<u32>(RUN_SEED) + <u32>integer(args, 4))
  const kept: f32 = <f32>1 / (<f32>1 - rate)
  const end = share(count, worker + 1, workers)
  for (let i = share(count, worker, workers); i < end; i++) {
    const at = <usize>i << 2
    const uniform = <f32>(mix(seed + <u32>i * 0x9e3779b9) >> 8) / <f32>16777216
    store<f32>(out + at, uniform < rate ? 0 : load<f32>(x + at) * kept)
  }
}
