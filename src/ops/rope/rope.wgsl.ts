// Rotary position embedding on the GPU: one invocation turns one pair.

import { matrixSize } from '../../graph/tape.ts'
import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'

const ropeKernel = kernel('rope', {
  reads: { x: 'f32', table: 'f32' },
  writes: { out: 'f32' },
  numbers: { columns: 'u32', headDim: 'u32', turn: 'f32' },
  size: 64,
  main: /* wgsl */ `
  if (2u * id.x >= numbers.columns || id.y >= run.rows) { return; }
  let half = numbers.headDim / 2u;
  let i = id.x % half;
  let angles = u32(runRows[id.y].position) * numbers.headDim;
  let cosine = table[angles + i];
  let sine = numbers.turn * table[angles + half + i];
  let at = id.y * numbers.columns + (id.x / half) * numbers.headDim + i;
  let a = x[at];
  let b = x[at + half];
  out[at] = a * cosine - b * sine;
  out[at + half] = a * sine + b * cosine;
`,
})

export const ropeWebGpu: WebGpuLoweringRule = ({ inputs: [x, table], outputs: [out], attributes }, lower) => {
  const { columns } = matrixSize(x!.shape)
  const numbers = { columns, headDim: table!.shape[1]!, turn: attributes.inverse === true ? -1 : 1 }
  lower.dispatch(ropeKernel, { x: x!, table: table!, out: out! }, numbers, elementwise(columns / 2))
}
