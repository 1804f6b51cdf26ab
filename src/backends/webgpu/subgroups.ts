// Whether a device's subgroups are what kernels take them for: that they hold a workgroup's invocations in order, and as many
// as they report. WGSL promises neither, and sums would be wrong without a word; one trial when a device is opened tells.

import { GemmaError } from '../../error.ts'
import { kernel } from '../../ops/wgsl/kernel.ts'
import { sumOver } from '../../ops/wgsl/math.ts'
import { createReadBack } from './read-back.ts'
import { reportErrors } from './report-errors.ts'
import { BUFFER } from './usage.ts'

/** The smallest and the largest workgroup that kernels have. */
const SIZES = [64, 256] as const
const WORKGROUPS = 3

const trialOf = (size: number): string =>
  kernel(`trial of subgroups in ${size}`, {
    reads: {},
    writes: { out: 'f32' },
    numbers: { unused: 'u32' },
    size,
    functions: [sumOver(size)],
    main: /* wgsl */ ` out[id.x] = sumOver(lane, f32(lane * lane)); `,
  }).subgroupText!

/** Opened with the feature `subgroups`. Throws GemmaError 'device' where the device is lost meanwhile. */
export async function subgroupsAreInOrder(device: GPUDevice): Promise<boolean> {
  const trials = SIZES.map((size) => ({
    size,
    buffer: device.createBuffer({
      label: 'trial',
      size: size * WORKGROUPS * 4,
      usage: BUFFER.STORAGE | BUFFER.COPY_SRC,
    }),
  }))
  const encoder = device.createCommandEncoder()
  try {
    await reportErrors(device, () => {
      for (const { size, buffer } of trials) runTrial(device, encoder, size, buffer)
    })
  } catch (error) {
    // What a driver cannot compile, it need not run: the plain forms serve.
    if (error instanceof GemmaError) return false
    throw error
  }
  const readBack = createReadBack(device, () => {})
  const stretches = trials.map(({ buffer }) => ({ buffer, bytes: buffer.size }))
  const sums = new Float32Array(await readBack(encoder, stretches))
  for (const { buffer } of trials) buffer.destroy()
  const expected = SIZES.flatMap((size) => Array<number>(size * WORKGROUPS).fill(sumOfSquares(size)))
  return expected.every((sum, i) => sum === sums[i])
}

function runTrial(device: GPUDevice, encoder: GPUCommandEncoder, size: number, buffer: GPUBuffer): void {
  const module = device.createShaderModule({ label: 'trial', code: trialOf(size) })
  const pipeline = device.createComputePipeline({
    label: 'trial',
    layout: 'auto',
    compute: { module, entryPoint: 'main' },
  })
  const entries = [{ binding: 0, resource: { buffer } }]
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline)
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
  pass.dispatchWorkgroups(WORKGROUPS)
  pass.end()
}

/** Σ i² for i < n: whole in float32 for all sizes, in whatever order it is added. */
function sumOfSquares(n: number): number {
  return ((n - 1) * n * (2 * n - 1)) / 6
}
