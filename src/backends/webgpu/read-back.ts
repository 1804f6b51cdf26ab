// Brings bytes from the device to the host. Several readings may be under way at a time, each into a buffer of its own, which
// the next ones take again. Knows no plan.

import { BUFFER, MAP_READ_MODE } from './usage.ts'

export interface Stretch {
  readonly buffer: GPUBuffer
  /** Default 0. */
  readonly from?: number
  readonly bytes: number
}

/** Submits `encoder` and gives copies of the stretches, one after the other, as they are then. `alive` throws why not. */
export type ReadBack = (encoder: GPUCommandEncoder, stretches: readonly Stretch[]) => Promise<ArrayBuffer>

export function createReadBack(device: GPUDevice, alive: () => void): ReadBack {
  const idle: GPUBuffer[] = []
  const take = (bytes: number): GPUBuffer => {
    const found = idle.findIndex(({ size }) => size >= bytes)
    if (found >= 0) return idle.splice(found, 1)[0]!
    idle.shift()?.destroy()
    const usage = BUFFER.MAP_READ | BUFFER.COPY_DST
    return device.createBuffer({ label: 'read back', size: bytes, usage })
  }
  return async (encoder, stretches) => {
    const bytes = stretches.reduce((sum, one) => sum + one.bytes, 0)
    if (bytes === 0) {
      device.queue.submit([encoder.finish()])
      await device.queue.onSubmittedWorkDone()
      alive()
      return new ArrayBuffer(0)
    }
    const staging = take(bytes)
    let at = 0
    for (const { buffer, from = 0, bytes: length } of stretches) {
      encoder.copyBufferToBuffer(buffer, from, staging, at, length)
      at += length
    }
    device.queue.submit([encoder.finish()])
    await staging.mapAsync(MAP_READ_MODE, 0, bytes).catch((cause: unknown) => {
      alive()
      throw cause
    })
    alive()
    const copy = staging.getMappedRange(0, bytes).slice(0)
    staging.unmap()
    idle.push(staging)
    return copy
  }
}
