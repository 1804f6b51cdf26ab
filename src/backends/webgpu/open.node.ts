// WebGPU in Node: through the package webgpu (Dawn), which a program that wants it installs beside this one. Node only.

import { GemmaError } from '../../error.ts'

/** The package, or a path to its entry, where it lies elsewhere. */
const PACKAGE = 'GEMMA_WEBGPU'

interface Dawn {
  create(options: readonly string[]): GPU
}

let opened: GPU | undefined

/** The entry to WebGPU. Throws GemmaError 'unsupported' where the package is not installed, 'device' where it cannot start. */
export async function openGpu(): Promise<GPU> {
  if (opened) return opened
  const name = process.env[PACKAGE] ?? 'webgpu'
  try {
    const { create } = (await import(name)) as Dawn
    opened = create([])
    return opened
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ERR_MODULE_NOT_FOUND') {
      throw new GemmaError(
        'unsupported',
        `There is no WebGPU in Node without the package ${name}.`,
        'Install it: npm install webgpu',
        { cause },
      )
    }
    throw new GemmaError('device', `The package ${name} does not start: ${message}`, '', { cause })
  }
}
