// Writes the new keys and values into the cache. The cache of one sequence is a ring of `capacity` slots:
// position p lies in slot p mod capacity. A full-attention layer has a slot for every position of the
// context; a sliding layer only as many as one run can still see.

import { expectShape, matrixSize, type Op, record, type Tape, type Tensor } from '../../graph/tape.ts'
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
    for (let t = 0; t < run.rows; t++) {
      const slot = run.sequences[t]! * capacity + (run.positions[t]! % capacity)
      for (let i = 0; i < columns; i++) cache[slot * columns + i] = values[t * columns + i]!
    }
  },
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
  ])
}
