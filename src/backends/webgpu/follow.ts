// Lets a run begin with the token that the run before it drew, without the host having seen it: the first row's token is
// taken from where that run left it. Knows no plan.

import { COMPUTE_STAGE } from './usage.ts'

/** Tokens are drawn as f32 (ops/sample); the token is the first word of a row (run-inputs.ts). */
const TEXT = /* wgsl */ `
@group(0) @binding(0) var<storage, read> drawn: array<f32>;
@group(0) @binding(1) var<storage, read_write> rows: array<i32>;
@compute @workgroup_size(1) fn main() { rows[0] = i32(drawn[0]); }`

/** Encodes the taking; it must come after the rows were written and before they are read. */
export type TakeDrawn = (encoder: GPUCommandEncoder, drawn: GPUBuffer) => void

export function createTakeDrawn(device: GPUDevice, rows: GPUBuffer): TakeDrawn {
  let made: { readonly pipeline: GPUComputePipeline; readonly layout: GPUBindGroupLayout } | undefined
  const make = (): NonNullable<typeof made> => {
    const types = ['read-only-storage', 'storage'] as const
    const layout = device.createBindGroupLayout({
      entries: types.map((type, binding) => ({ binding, visibility: COMPUTE_STAGE, buffer: { type } })),
    })
    const pipeline = device.createComputePipeline({
      label: 'take drawn',
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module: device.createShaderModule({ label: 'take drawn', code: TEXT }), entryPoint: 'main' },
    })
    return { pipeline, layout }
  }
  const groups = new WeakMap<GPUBuffer, GPUBindGroup>()
  return (encoder, drawn) => {
    made ??= make()
    const { pipeline, layout } = made
    const entries = [drawn, rows].map((buffer, binding) => ({ binding, resource: { buffer } }))
    const group = groups.get(drawn) ?? device.createBindGroup({ label: 'take drawn', layout, entries })
    groups.set(drawn, group)
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, group)
    pass.dispatchWorkgroups(1)
    pass.end()
  }
}
