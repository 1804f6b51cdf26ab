// Writes the new keys and values into the cache. The cache of one sequence is a ring of `capacity` slots:
// position p lies in slot p mod capacity. A full-attention layer has a slot for every position of the
// context; a sliding layer only as many as one run can still see. A cache of f16 or int8 (blocks of 32 with
// one scale) rounds what it is given.

import { cacheRowBytes, DTYPE_CODE, type Dtype } from '../../graph/dtype.ts'
import { expectShape, matrixSize, type Op, record, type Tape, type Tensor } from '../../graph/tape.ts'
import { roundHalfEven, roundToBlocks } from '../linear/linear.ts'
import { int, reads, updates, type WasmLowering } from '../lowering.ts'

export const appendOp: Op = {
  name: 'append',
  shape(inputs) {
    const [values, cache] = inputs
    expectShape(values!.shape[1] === cache!.shape[1], 'append', inputs, 'rows and cache rows have one length')
    return []
  },
  reference({ inputs, inputTensors, attributes, run }) {
    const [values, cache] = inputs as [Float32Array, Float32Array]
    const { columns } = matrixSize(inputTensors[0]!.shape)
    const capacity = attributes.capacity as number
    const round = ROUNDING[inputTensors[1]!.dtype] ?? ((row): Float32Array => row)
    for (let t = 0; t < run.rows; t++) {
      const slot = run.sequences[t]! * capacity + (run.positions[t]! % capacity)
      cache.set(round(values.subarray(t * columns, (t + 1) * columns)), slot * columns)
    }
  },
}

const ROUNDING: Partial<Record<Dtype, (row: Float32Array) => Float32Array>> = {
  f16: (row) => row.map(toHalf),
  int8: roundToBlocks,
}

/** The nearest f16, ties to even; past the largest it saturates. */
function toHalf(value: number): number {
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(value))))
  const step = 2 ** (exponent - 10)
  const rounded = value === 0 ? 0 : roundHalfEven(value / step) * step
  return Math.max(-65504, Math.min(65504, rounded))
}

/** values [rows, width] go into cache [sequences · capacity, width] at their positions. */
export function append(tape: Tape, values: Tensor, cache: Tensor, capacity: number): void {
  record(tape, appendOp, [values, cache], { capacity })
}

export const appendWasm: WasmLowering = ({ inputs: [values, cache], attributes }, lower) => {
  lower.call('append', [
    reads(values!),
    updates(cache!),
    int(cache!.shape[1]!),
    int(attributes.capacity as number),
    int(cacheRowBytes(cache!.dtype, cache!.shape[1]!)),
    int(DTYPE_CODE[cache!.dtype]),
  ])
}
