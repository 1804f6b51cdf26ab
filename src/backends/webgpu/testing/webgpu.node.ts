// WebGPU for tests: the package and the software driver that .ci/run brings, where they are. Set before anything asks for
// a GPU, since drivers are looked for once in a process.

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { GemmaError } from '../../../error.ts'
import { findAdapter, type OpenDevice, openDevice } from '../device.ts'
import { openGpu } from '../open.node.ts'

/** The package where .ci/run puts it, unless another is named. */
export function useInstalledWebGpu(): void {
  const installed = fileURLToPath(
    new URL('../../../../.scratch/webgpu/node_modules/webgpu/index.js', import.meta.url),
  )
  if (existsSync(installed)) process.env.GEMMA_WEBGPU ??= installed
}

/** Of the drivers of Vulkan only lavapipe, so that tests mean the same everywhere. */
function useLavapipe(): void {
  const lavapipe = ['lvp_icd.x86_64.json', 'lvp_icd.aarch64.json', 'lvp_icd.json']
    .map((name) => `/usr/share/vulkan/icd.d/${name}`)
    .find((path) => existsSync(path))
  if (lavapipe) process.env.VK_DRIVER_FILES ??= lavapipe
}

let known: Promise<string | undefined> | undefined

/** Why there is no WebGPU here; undefined where there is. Said once. */
export function missingWebGpu(): Promise<string | undefined> {
  known ??= findMissing()
  return known
}

async function findMissing(): Promise<string | undefined> {
  useInstalledWebGpu()
  useLavapipe()
  let reason: string | undefined
  try {
    reason = (await findAdapter(await openGpu())) ? undefined : 'no driver gives an adapter'
  } catch (error) {
    if (!(error instanceof GemmaError)) throw error
    reason = error.message
  }
  if (reason !== undefined) console.warn(`Without tests on WebGPU: ${reason}`)
  return reason
}

/** A device of a test's own, with all features that kernels use or none; where there is none, see missingWebGpu. */
export async function testDevice(plain = false): Promise<OpenDevice> {
  const found = await findAdapter(await openGpu())
  if (!found) throw new Error('there is no adapter')
  return plain ? openDevice(found, []) : openDevice(found)
}

const shared = new Map<boolean, Promise<OpenDevice>>()

/** One device for many small backends: pipelines are made once. What they made on it goes with the process. */
export async function sharedDevice(plain = false): Promise<OpenDevice> {
  const device = shared.get(plain) ?? testDevice(plain)
  shared.set(plain, device)
  return { ...(await device), close() {} }
}
