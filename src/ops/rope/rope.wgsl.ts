// Rotary position embedding on the GPU: one invocation turns one pair.

import { matrixSize } from '../../graph/tape.ts'
import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'

/** fn turned: elements i of both halves of a head at a position; needs table: array<f32>, the angles. */
export const TURNED: string = /* wgsl */ `
fn turned(pair: vec2f, position: i32, i: u32, headDim: u32, turn: f32) -> vec2f {
  let angles = u32(position) * headDim;
  let cosine = table[angles + i];
  let sine = turn * table[angles + headDim / 2u + i];
  return vec2f(pair.x * cosine - pair.y * sine, pair.x * sine + pair.y * cosine);
}`

const ropeKernel = kernel('rope', {
  reads: { x: 'f32', table: 'f32' },
  writes: { out: 'f32' },
  numbers: { columns: 'u32', headDim: 'u32', turn: 'f32' },
  size: 64,
  functions: [TURNED],
  main: /* wgsl */ `
  if (2u * id.x >= numbers.columns || id.y >= run.rows) { return; }
  let half = numbers.headDim / 2u;
  let i = id.x % half;
  let at = id.y * numbers.columns + (id.x / half) * numbers.headDim + i;
  let pair = turned(vec2f(x[at], x[at + half]), runRows[id.y].position, i, numbers.headDim, numbers.turn);
  out[at] = pair.x;
  out[at + half] = pair.y;
`,
})

export const ropeWebGpu: WebGpuLoweringRule = ({ inputs: [x, table], outputs: [out], attributes }, lower) => {
  const { columns } = matrixSize(x!.shape)
  const numbers = { columns, headDim: table!.shape[1]!, turn: attributes.inverse === true ? -1 : 1 }
  lower.dispatch(ropeKernel, { x: x!, table: table!, out: out! }, numbers, elementwise(columns / 2))
}
