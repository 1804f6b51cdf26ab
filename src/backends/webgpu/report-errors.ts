// What WebGPU says of things that went wrong, as errors of ours.

import { GemmaError } from '../../error.ts'

/** An error that WebGPU reported, as ours. */
export function reported(error: GPUError): GemmaError {
  // Where WebGPU is a package, there is no global class to compare with.
  if (error.constructor.name === 'GPUOutOfMemoryError') {
    return new GemmaError(
      'memory',
      `The GPU has not enough memory: ${told(error)}`,
      "Choose a shorter contextLength, a narrower dtype, or device 'cpu'.",
    )
  }
  return new GemmaError('device', `The GPU refused a command: ${told(error)}`, "Use device 'cpu'.")
}

/** Runs what creates things on a device, and throws what the device reports of it. */
export async function reportErrors<T>(device: GPUDevice, create: () => T): Promise<T> {
  device.pushErrorScope('validation')
  device.pushErrorScope('out-of-memory')
  const made = settled(create)
  const errors = [await device.popErrorScope(), await device.popErrorScope()]
  if ('thrown' in made) throw made.thrown
  const error = errors.find((one) => one !== null)
  if (error) throw reported(error)
  return made.value
}

/** The value or what was thrown, so that scopes are closed either way. */
function settled<T>(create: () => T): { readonly value: T } | { readonly thrown: unknown } {
  try {
    return { value: create() }
  } catch (thrown) {
    return { thrown }
  }
}

/** The first line: what follows in Dawn's messages is the path through its own code. */
export function told(error: unknown): string {
  return (
    error instanceof Error || (typeof error === 'object' && error !== null && 'message' in error)
      ? String(error.message)
      : String(error)
  ).split('\n')[0]!
}
