// append: one unit is one row.
import {
  F16, F32, RUN_POSITIONS, RUN_SEQUENCES, integer, pointer, share, validRows,
} from '../../backends/wasm/runtime.wasm'
import { toF16 } from '../linear/pack.wasm'

export function append(args: usize, worker: i32, workers: i32): void {
  const values = pointer(args, 0)
  const cache = pointer(args, 1)
  const width = integer(args, 2)
  const capacity = integer(args, 3)
  const rowBytes = <usize>integer(args, 4)
  const dtype = integer(args, 5)
  const rows = validRows(0x7fffffff)
  const end = share(rows, worker + 1, workers)
  for (let t = share(rows, worker, workers); t < end; t++) {
    const position = load<i32>(RUN_POSITIONS + (<usize>t << 2))
    const sequence = load<i32>(RUN_SEQUENCES + (<usize>t << 2))
    const slot = <usize>sequence * <usize>capacity + <usize>(position % capacity)
    const from = values + <usize>t * (<usize>width << 2)
    const to = cache + slot * rowBytes
    if (dtype == F32) {
      memory.copy(to, from, rowBytes)
    } else if (dtype == F16) {
      for (let i = 0; i < width; i++) store<u16>(to + (<usize>i << 1), toF16(load<f32>(from + (<usize>i << 2))))
    } else {
      appendBytes(from, to, width)
    }
  }
}

/** Blocks of 32 with one f32 scale each, the scales after the bytes. */
function appendBytes(from: usize, to: usize, width: i32): void {
  const scales = to + <usize>((width + 3) & ~3)
  for (let block = 0; block << 5 < width; block++) {
    const end = min(width, (block + 1) << 5)
    let largest: f32 = 0
    for (let i = block << 5; i < end; i++) largest = max(largest, abs(load<f32>(from + (<usize>i << 2))))
    store<f32>(scales + (<usize>block << 2), largest / 127)
    const inverse: f32 = largest > 0 ? <f32>127 / largest : 0
    for (let i = block << 5; i < end; i++) {
      store<i8>(to + <usize>i, <i8>nearest(load<f32>(from + (<usize>i << 2)) * inverse))
    }
  }
}
