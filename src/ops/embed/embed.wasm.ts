// embed: one unit is one token; its row is widened from whatever dtype the table has.
import {
  BF16, F16, F32, INT4, INT4MIN, INT8, INT8ROW, RUN_TOKENS,
  integer, loadBf16, loadF16, pointer, real, share, validRows,
} from '../../backends/wasm/runtime.wasm'
import { blockOffset, packedByte, scaleOffset } from '../linear/pack.wasm'

export function embed(args: usize, worker: i32, workers: i32): void {
  const table = pointer(args, 0)
  const scales = pointer(args, 1)
  const minima = pointer(args, 2)
  const out = pointer(args, 3)
  const dtype = integer(args, 4)
  const width = integer(args, 5)
  const factor = real(args, 6)
  const variant = integer(args, 7)
  const rows = validRows(0x7fffffff)
  const end = share(rows, worker + 1, workers)
  for (let t = share(rows, worker, workers); t < end; t++) {
    const row = load<i32>(RUN_TOKENS + (<usize>t << 2))
    const to = out + <usize>t * (<usize>width << 2)
    if (dtype == F32) {
      const from = table + <usize>row * (<usize>width << 2)
      for (let i = 0; i < width; i++) put(to, i, load<f32>(from + (<usize>i << 2)) * factor)
    } else if (dtype == BF16) {
      const from = table + <usize>row * (<usize>width << 1)
      for (let i = 0; i < width; i++) put(to, i, loadBf16(from + (<usize>i << 1)) * factor)
    } else if (dtype == F16) {
      const from = table + <usize>row * (<usize>width << 1)
      for (let i = 0; i < width; i++) put(to, i, loadF16(from + (<usize>i << 1)) * factor)
    } else {
      embedPacked(table, scales, minima, to, dtype, row, width, factor, variant)
    }
  }
}

// @ts-ignore: decorator
@inline
function put(to: usize, i: i32, value: f32): void {
  store<f32>(to + (<usize>i << 2), value)
}

function embedPacked(
  table: usize, scales: usize, minima: usize, to: usize, dtype: i32, row: i32, width: i32, factor: f32, variant: i32,
): void {
  const blocks = (width + 31) >> 5
  const narrow = dtype == INT4 || dtype == INT4MIN
  const blockBytes: usize = narrow ? 64 : 128
  const group = <usize>(row >> 3) * <usize>blocks
  const lane = row & 3
  for (let i = 0; i < width; i++) {
    const index = group + <usize>(i >> 5)
    const block = table + blockOffset(index, row, blockBytes)
    const q = packedByte(block, lane, i & 31, narrow, variant)
    let value: f32
    if (dtype == INT8ROW) {
      value = <f32>q * load<f32>(scales + (<usize>row << 2))
    } else {
      const scale = loadF16(scales + scaleOffset(index, row))
      if (dtype == INT4MIN) value = <f32>q * scale + loadF16(minima + scaleOffset(index, row))
      else if (dtype == INT4) value = <f32>(q - 8) * scale
      else value = <f32>q * scale
    }
    put(to, i, value * factor)
  }
}
