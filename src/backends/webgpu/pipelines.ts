// Pipelines of a device, made once for each kernel text, and the layouts that kernels share. Knows no op.

import type { Kernel } from '../../ops/wgsl/kernel.ts'
import type { OpenDevice } from './device.ts'
import { COMPUTE_STAGE } from './usage.ts'

export interface Pipelines {
  /** Of the bindings that every run brings. */
  readonly runLayout: GPUBindGroupLayout
  of(kernel: Kernel): { readonly pipeline: GPUComputePipeline; readonly layout: GPUBindGroupLayout }
}

const known = new WeakMap<GPUDevice, Pipelines>()

/** The same for every backend on a device. */
export function pipelinesOf({ device, subgroups }: OpenDevice): Pipelines {
  const before = known.get(device)
  if (before) return before
  const visibility = COMPUTE_STAGE
  const layoutOf = (types: readonly GPUBufferBindingType[]): GPUBindGroupLayout =>
    device.createBindGroupLayout({
      entries: types.map((type, binding) => ({ binding, visibility, buffer: { type } })),
    })
  const runLayout = layoutOf(['uniform', 'read-only-storage'])
  const layouts = new Map<string, GPUBindGroupLayout>()
  const pipelines = new Map<string, ReturnType<Pipelines['of']>>()
  const made: Pipelines = {
    runLayout,
    of(kernel) {
      const { reads, writes, name } = kernel
      const text = (subgroups ? kernel.subgroupText : undefined) ?? kernel.text
      const found = pipelines.get(text)
      if (found) return found
      const shape = `${reads.length} ${writes.length}`
      const layout =
        layouts.get(shape) ??
        layoutOf([
          ...reads.map(() => 'read-only-storage' as const),
          ...writes.map(() => 'storage' as const),
          'uniform',
        ])
      layouts.set(shape, layout)
      const pipeline = device.createComputePipeline({
        label: name,
        layout: device.createPipelineLayout({ bindGroupLayouts: [layout, runLayout] }),
        compute: { module: device.createShaderModule({ label: name, code: text }), entryPoint: 'main' },
      })
      const own = { pipeline, layout }
      pipelines.set(text, own)
      return own
    },
  }
  known.set(device, made)
  return made
}
