import { describe, expect, test } from 'vitest'
import { subgroupsAreInOrder } from './subgroups.ts'
import { missingWebGpu, testDevice } from './testing/webgpu.node.ts'

const missing = await missingWebGpu()

describe.skipIf(missing !== undefined)('subgroups', () => {
  test('are used on a device that has them and keeps their order', async () => {
    const open = await testDevice()
    try {
      expect(open.subgroups).toBe(open.device.features.has('subgroups'))
      expect(open.failure()).toBeUndefined()
    } finally {
      open.close()
    }
  })

  test('are not used on a device that cannot compile the trial, which goes on', async () => {
    const open = await testDevice(true)
    try {
      expect(open.subgroups).toBe(false)
      expect(await subgroupsAreInOrder(open.device)).toBe(false)
      expect(open.failure()).toBeUndefined()
    } finally {
      open.close()
    }
  })

  test.each([
    ['report twice their size', 'ownLanes;', '2u * ownLanes;'],
    ['share a number', 'lane / ownLanes', 'lane / ownLanes / 2u'],
  ])('are not used where they %s', async (_, what, instead) => {
    const open = await testDevice()
    if (!open.subgroups) return open.close()
    const device = new Proxy(open.device, {
      get(target, name) {
        if (name !== 'createShaderModule') {
          const value: unknown = Reflect.get(target, name, target)
          return typeof value === 'function' ? value.bind(target) : value
        }
        return ({ code, ...more }: GPUShaderModuleDescriptor) =>
          target.createShaderModule({ ...more, code: code.replaceAll(what, instead) })
      },
    })
    try {
      expect(await subgroupsAreInOrder(device)).toBe(false)
    } finally {
      open.close()
    }
  })
})
