// What changes from run to run, as the kernels read it (ops/wgsl/kernel.ts declares the same): one uniform block of
// numbers, and a few words for each row. Knows no op.

import { MOST_SCALARS, type RunInputs } from '../../graph/tape.ts'

/** struct Run */
export const RUN_BYTES: number = 32 + MOST_SCALARS * 4
/** struct Row */
export const ROW_BYTES = 24

export function runBlock({ rows, seed = 0, sampling, scalars }: RunInputs): ArrayBuffer {
  const block = new ArrayBuffer(RUN_BYTES)
  const view = new DataView(block)
  const { temperature, topK, topP } = sampling
  view.setUint32(0, rows, true)
  view.setUint32(4, seed, true)
  view.setUint32(8, Math.min(topK, 0x7fffffff), true)
  view.setUint32(12, bits32(topP), true)
  // Kernels divide by it in float32: below this only the most likely token is left, above all are equal.
  view.setFloat32(16, temperature < 1e-30 ? 0 : Math.min(temperature, 1e38), true)
  view.setUint32(20, topP < 1 ? 1 : 0, true)
  if (scalars) new Float32Array(block, 32).set(scalars)
  return block
}

export function rowBlock({
  rows,
  tokens,
  positions,
  sequences,
  targets,
  weights,
  sampling,
}: RunInputs): ArrayBuffer {
  const block = new ArrayBuffer(rows * ROW_BYTES)
  const integers = new Int32Array(block)
  const floats = new Float32Array(block)
  const words = new Uint32Array(block)
  for (let i = 0; i < rows; i++) {
    const at = (i * ROW_BYTES) / 4
    integers[at] = tokens[i]!
    integers[at + 1] = positions[i]!
    integers[at + 2] = sequences[i]!
    integers[at + 3] = targets[i]!
    floats[at + 4] = weights?.[i] ?? 1
    words[at + 5] = bits32(sampling.uniform[i] ?? 0)
  }
  return block
}

/** A number in [0, 1) as a fraction of 2³², rounded down; 1 and more as the largest. */
function bits32(fraction: number): number {
  return Math.min(0xffffffff, Math.floor(fraction * 2 ** 32))
}
