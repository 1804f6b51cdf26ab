// gelu(gate) · up on the GPU, rounded to 8 bits at once where products with packed weights read it.

import { ROUND_TO, ROUNDED_WRITES, roundsToo } from '../linear/quantize.wgsl.ts'
import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'
import { EXP } from '../wgsl/math.ts'

/** fn gelu; needs EXP. */
export const GELU: string = /* wgsl */ `
// ½ (1 + tanh u) = 1 / (1 + e^−2u); past 15 that is 0 or 1, and the cube of more could overflow.
fn gelu(x: f32) -> f32 {
  let c = clamp(x, -15.0, 15.0);
  return x / (1.0 + exponential(-1.5957691216 * (c + 0.044715 * c * c * c)));
}`

const gegluKernel = kernel('geglu', {
  reads: { gate: 'f32', up: 'f32' },
  writes: { out: 'f32' },
  numbers: { width: 'u32' },
  size: 64,
  functions: [EXP, GELU],
  main: /* wgsl */ `
  if (id.x >= numbers.width || id.y >= run.rows) { return; }
  let i = id.y * numbers.width + id.x;
  out[i] = gelu(gate[i]) * up[i];
`,
})

/** Values of one workgroup of the kernel that rounds too: whole blocks. */
const STRETCH = 256

const gegluRoundedKernel = kernel('geglu, rounded', {
  reads: { gate: 'f32', up: 'f32' },
  writes: { out: 'f32', ...ROUNDED_WRITES },
  numbers: { width: 'u32' },
  size: 64,
  functions: [EXP, GELU, ROUND_TO('out')],
  main: /* wgsl */ `
  if (group.y >= run.rows) { return; }
  let base = group.y * numbers.width;
  let first = group.x * ${STRETCH}u;
  let end = min(numbers.width, first + ${STRETCH}u);
  for (var i = base + first + lane; i < base + end; i += 64u) { out[i] = gelu(gate[i]) * up[i]; }
  storageBarrier();
  let own = first + 32u * lane;
  if (own < end) { roundBlock(base + own, min(32u, end - own), group.y * ((numbers.width + 31u) / 32u) + own / 32u); }
`,
})

export const gegluWebGpu: WebGpuLoweringRule = ({ inputs: [gate, up], outputs: [out] }, lower) => {
  const width = gate!.shape[1]!
  const made = roundsToo(out!, lower)
  const bindings = { gate: gate!, up: up!, out: out! }
  if (!made) return lower.dispatch(gegluKernel, bindings, { width }, elementwise(width))
  const groups = Math.ceil(width / STRETCH)
  lower.dispatch(gegluRoundedKernel, { ...bindings, ...made }, { width }, (rows) => [groups, rows, 1])
}
