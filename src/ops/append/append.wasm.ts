// append: one unit is one row.
import {
  RUN_POSITIONS, RUN_SEQUENCES, integer, pointer, share, validRows,
} from '../../backends/wasm/runtime.wasm'

export function append(args: usize, worker: i32, workers: i32): void {
  const values = pointer(args, 0)
  const cache = pointer(args, 1)
  const rowBytes = <usize>integer(args, 2) << 2
  const capacity = integer(args, 3)
  const rows = validRows(0x7fffffff)
  const end = share(rows, worker + 1, workers)
  for (let t = share(rows, worker, workers); t < end; t++) {
    const position = load<i32>(RUN_POSITIONS + (<usize>t << 2))
    const sequence = load<i32>(RUN_SEQUENCES + (<usize>t << 2))
    const slot = <usize>sequence * <usize>capacity + <usize>(position % capacity)
    memory.copy(cache + slot * rowBytes, values + <usize>t * rowBytes, rowBytes)
  }
}
