// From the entry to WebGPU to a device that models run on, and what goes wrong with devices in words of our own. Runs in
// browsers and, with the package webgpu (see open.node.ts), in Node. Knows no model.

import { GemmaError } from '../../error.ts'
import { reported, told } from './report-errors.ts'
import { subgroupsAreInOrder } from './subgroups.ts'

export interface FoundAdapter {
  readonly adapter: GPUAdapter
  /** For people. */
  readonly name: string
  /** Whether a program plays the GPU: slower than our own kernels on the CPU. */
  readonly software: boolean
}

export interface OpenDevice {
  readonly device: GPUDevice
  readonly name: string
  readonly software: boolean
  /** Whether kernels may add within subgroups. */
  readonly subgroups: boolean
  /** What the device reported, if anything did not work since it was opened. */
  failure(): GemmaError | undefined
  close(): void
}

/**
 * Largest binding that is asked for, where the adapter has more than the 128 MiB of every device: weights then lie in fewer
 * pieces, and longer contexts fit.
 */
const LARGEST_BINDING = 1 << 30

/** Storage buffers of a kernel that are asked for, where the adapter has more than the 8 of every device. */
const MOST_BUFFERS = 10

/** The largest binding that a device of this adapter will take, in bytes. */
export function largestBindingOf({ adapter }: FoundAdapter): number {
  return Math.min(LARGEST_BINDING, adapter.limits.maxStorageBufferBindingSize)
}

/** The fastest adapter, or undefined where the system has none. */
export async function findAdapter(gpu: GPU): Promise<FoundAdapter | undefined> {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter) return undefined
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info
  const names = [description, device, [vendor, architecture].filter((part) => part !== '').join(' ')]
  const name = names.find((one) => one !== '') ?? 'an unnamed GPU'
  const software =
    isFallbackAdapter || /llvmpipe|lavapipe|swiftshader|software|basic render/i.test(names.join(' '))
  return { adapter, name, software }
}

/** What kernels have a form for, where an adapter has it: sums within a subgroup (see ops/wgsl/kernel.ts). */
const FEATURES: readonly GPUFeatureName[] = ['subgroups']

/**
 * Opens a device with the limits and features that models want, as far as the adapter has them, or with the `features` that
 * are named. Throws GemmaError 'device'.
 */
export async function openDevice(
  found: FoundAdapter,
  features: readonly GPUFeatureName[] = FEATURES,
): Promise<OpenDevice> {
  const { adapter, name, software } = found
  const { maxBufferSize, maxStorageBuffersPerShaderStage } = adapter.limits
  const binding = largestBindingOf(found)
  const requiredLimits = {
    maxStorageBufferBindingSize: binding,
    maxBufferSize: Math.min(Math.max(binding, 256 << 20), maxBufferSize),
    maxStorageBuffersPerShaderStage: Math.min(MOST_BUFFERS, maxStorageBuffersPerShaderStage),
  }
  const device = await adapter
    .requestDevice({
      ...{ label: 'gemma-ts', requiredLimits },
      requiredFeatures: features.filter((feature) => adapter.features.has(feature)),
    })
    .catch((cause: unknown) => {
      throw new GemmaError('device', `The GPU ${name} gave no device: ${told(cause)}`, '', { cause })
    })
  const { failure } = watch(device, name)
  const subgroups = device.features.has('subgroups') && (await subgroupsAreInOrder(device))
  return { device, name, software, subgroups, failure, close: () => device.destroy() }
}

/** Hears of the first thing that goes wrong: later ones mostly follow from it. */
function watch(device: GPUDevice, name: string): Pick<OpenDevice, 'failure'> {
  let first: GemmaError | undefined
  device.lost.then(({ reason, message }) => {
    first ??= new GemmaError(
      'device',
      `The GPU ${name} was lost (${reason === 'destroyed' ? 'destroyed' : message}).`,
      'Load the model again.',
    )
  })
  device.addEventListener('uncapturederror', (event) => {
    event.preventDefault()
    first ??= reported(event.error)
  })
  return { failure: () => first }
}
