// Checkpoints on a real disk: what was written comes back, damage of every kind is noticed, failures leave those before
// as they were. Kills are in kill.test.ts.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFile,
  cp,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { parseConfig } from '../model/config.ts'
import {
  checkpointBytes,
  cleanCheckpoints,
  findCheckpoint,
  listCheckpoints,
  pruneCheckpoints,
  removeCheckpoints,
  restoreModel,
  restoreWeights,
  writeCheckpoint,
} from './checkpoint.node.ts'
import { lockRun } from './run-lock.node.ts'
import { fakeRows } from './testing/fake-data.ts'
import { FAKE_CONFIG, fakeModel, valuesOf } from './testing/fake-model.ts'
import type { TrainingModel } from './training-model.ts'

let scratch: string
let directory: string
let count = 0

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gemma-checkpoint-'))
})
beforeEach(() => {
  directory = join(scratch, `run-${count++}`, 'checkpoints')
})
afterAll(() => rm(scratch, { recursive: true, force: true }))

async function learned(steps: number): Promise<TrainingModel> {
  const model = fakeModel()
  for (let step = 1; step <= steps; step++) {
    await model.accumulate(fakeRows(step), { scale: 0.1, seed: step })
    await model.update({ step, learningRate: 0.1, gradientScale: 1 })
  }
  return model
}

/** Three checkpoints, of steps 5, 10 and 15, with { step } for a state. */
async function three(): Promise<Map<number, TrainingModel>> {
  const models = new Map<number, TrainingModel>()
  for (const step of [5, 10, 15]) {
    models.set(step, await learned(step))
    await writeCheckpoint(directory, step, models.get(step)!, { step })
  }
  return models
}

const stepsIn = async (): Promise<number[]> => (await listCheckpoints(directory)).map(({ step }) => step)
const placeOf = (step: number): string => join(directory, `step-${String(step).padStart(6, '0')}`)

describe('what was written comes back', () => {
  test('weights, optimiser and state, to the bit', async () => {
    const model = await learned(9)
    const state = { run: { loss: 1.1 + 2.2, position: { deep: [1, null, 'ü\u2028'] } }, other: 1e-300 }
    const path = await writeCheckpoint(directory, 9, model, state)
    expect(path).toBe(placeOf(9))
    const found = await findCheckpoint(directory, expect.unreachable)
    expect(found).toEqual({ step: 9, path, state })
    const other = fakeModel()
    await restoreModel(path, other)
    expect(await valuesOf(other)).toEqual(await valuesOf(model))
    const bytes = await Promise.all(
      ['weights.safetensors', 'optimizer.safetensors'].map(
        async (name) => (await stat(join(path, name))).size,
      ),
    )
    const sum = bytes[0]! + bytes[1]!
    expect(checkpointBytes(model)).toBeLessThan(sum)
    expect(sum - checkpointBytes(model)).toBeLessThan(10_000)
  })

  test('numbers that are none, infinite, negative zero and denormal stay what they are', async () => {
    const model = fakeModel()
    const name = 'model.norm.weight'
    const odd = Float32Array.from([Number.NaN, Infinity, -Infinity, -0, 1e-45, 3.4e38, 0, 1])
    await model.write(name, odd)
    await writeCheckpoint(directory, 1, model, null)
    const other = fakeModel()
    await restoreModel(placeOf(1), other)
    expect(new Uint32Array((await other.read(name)).buffer)).toEqual(new Uint32Array(odd.buffer))
  })

  test('the weights alone', async () => {
    const model = await learned(3)
    const path = await writeCheckpoint(directory, 3, model, null)
    const other = await learned(1)
    const before = await valuesOf(other)
    await restoreWeights(path, other)
    const [values, wanted] = [await valuesOf(other), await valuesOf(model)]
    for (const { name } of model.trainable) expect(values.get(name)).toEqual(wanted.get(name))
    for (const { name } of model.optimizerState) expect(values.get(name)).toEqual(before.get(name))
  })

  test('a step that is written again is replaced', async () => {
    await writeCheckpoint(directory, 3, await learned(3), 'first')
    await writeCheckpoint(directory, 3, await learned(4), 'second')
    expect(await readdir(directory)).toEqual(['step-000003'])
    expect((await findCheckpoint(directory, expect.unreachable))!.state).toBe('second')
  })

  test('none is none', async () => {
    expect(await findCheckpoint(directory, expect.unreachable)).toBe(undefined)
    await mkdir(directory, { recursive: true })
    await writeFile(join(directory, 'step-x'), '')
    expect(await listCheckpoints(directory)).toEqual([])
  })
})

describe('which stay', () => {
  test('the newest and the best', async () => {
    const model = fakeModel()
    for (const step of [1, 2, 3, 4, 5, 1_000_000]) await writeCheckpoint(directory, step, model, null)
    await pruneCheckpoints(directory, 2, 3)
    expect(await stepsIn()).toEqual([1_000_000, 5, 3])
    await pruneCheckpoints(directory, 1, undefined)
    expect(await stepsIn()).toEqual([1_000_000])
    expect(await readdir(directory)).toEqual(['step-1000000'])
    await removeCheckpoints(directory)
    expect(await stepsIn()).toEqual([])
  })

  test('what a kill left half-done goes', async () => {
    await three()
    await cp(placeOf(5), join(directory, '.step-000020.123.tmp'), { recursive: true })
    await cp(placeOf(5), join(directory, '.step-000005.123.old.tmp'), { recursive: true })
    await cleanCheckpoints(directory)
    expect((await readdir(directory)).sort()).toEqual(['step-000005', 'step-000010', 'step-000015'])
  })
})

describe('damage', () => {
  const flip = async (path: string, at: number): Promise<void> => {
    const file = await open(path, 'r+')
    const byte = new Uint8Array(1)
    await file.read(byte, 0, 1, at)
    await file.write(Uint8Array.of(byte[0]! ^ 1), 0, 1, at)
    await file.close()
  }

  const kinds: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
    'a bit of the weights': (path) => flip(join(path, 'weights.safetensors'), 3000),
    'a bit of the header': (path) => flip(join(path, 'weights.safetensors'), 20),
    'the last bit of the optimiser': async (path) => {
      const file = join(path, 'optimizer.safetensors')
      await flip(file, (await stat(file)).size - 1)
    },
    'a bit of the state': (path) => flip(join(path, 'state.json'), 120),
    'a cut file': (path) => truncate(join(path, 'optimizer.safetensors'), 1000),
    'an empty file': (path) => truncate(join(path, 'weights.safetensors'), 0),
    'a longer file': (path) => appendFile(join(path, 'weights.safetensors'), 'x'),
    'a cut state': (path) => truncate(join(path, 'state.json'), 100),
    'an empty state': (path) => truncate(join(path, 'state.json'), 0),
    'another state': (path) => writeFile(join(path, 'state.json'), '{"step":15}'),
    'no state': (path) => rm(join(path, 'state.json')),
    'no weights': (path) => rm(join(path, 'weights.safetensors')),
    'a directory in the place of a file': async (path) => {
      await rm(join(path, 'optimizer.safetensors'))
      await mkdir(join(path, 'optimizer.safetensors'))
    },
    'the files of another step': async (path) => {
      await rm(path, { recursive: true })
      await cp(placeOf(5), path, { recursive: true })
    },
  }

  test.each(Object.entries(kinds))('%s: the one before is taken, loudly', async (_, damage) => {
    const models = await three()
    await damage(placeOf(15))
    const said: string[] = []
    const found = await findCheckpoint(directory, (text) => said.push(text))
    expect(found).toMatchObject({ step: 10, state: { step: 10 } })
    expect(said).toHaveLength(1)
    expect(said[0]).toMatch(
      /^The checkpoint of step 15 is damaged and was moved to .*damaged-step-000015: .+/,
    )
    expect(await stepsIn()).toEqual([10, 5])
    const model = fakeModel()
    await restoreModel(found!.path, model)
    expect(await valuesOf(model)).toEqual(await valuesOf(models.get(10)!))
  })

  test('of all is an error, not a new beginning', async () => {
    await three()
    for (const step of [5, 10, 15]) await kinds['a cut file']!(placeOf(step))
    await expect(findCheckpoint(directory, () => {})).rejects.toMatchObject({
      code: 'training',
      message: expect.stringMatching(/^None of the 3 checkpoints .* can be read\. Begin anew with --restart/),
    })
  })

  test('a later format is not taken for damage', async () => {
    const path = await writeCheckpoint(directory, 5, fakeModel(), null)
    const file = join(path, 'state.json')
    const { checkpoint } = JSON.parse(await readFile(file, 'utf8'))
    const json = JSON.stringify({ ...checkpoint, format: 2 })
    const { createHash } = await import('node:crypto')
    const sha256 = createHash('sha256').update(json).digest('hex')
    await writeFile(file, `{"sha256":"${sha256}","checkpoint":${json}}\n`)
    await expect(findCheckpoint(directory, expect.unreachable)).rejects.toMatchObject({
      code: 'training',
      message: expect.stringMatching(/format 2; this version of gemma-ts reads format 1/),
    })
    expect(await stepsIn()).toEqual([5])
  })

  test('another model is refused', async () => {
    const path = await writeCheckpoint(directory, 5, fakeModel(), null)
    const wider = fakeModel(parseConfig({ ...FAKE_CONFIG, hidden_size: 16 }))
    await expect(restoreModel(path, wider)).rejects.toMatchObject({
      code: 'training',
      message: expect.stringMatching(/embed_tokens\.weight is F32 \[64, 8\], expected F32 \[64, 16\]/),
    })
    const deeper = fakeModel(parseConfig({ ...FAKE_CONFIG, num_hidden_layers: 2 }))
    await expect(restoreModel(path, deeper)).rejects.toMatchObject({ code: 'training' })
  })
})

describe('a failure leaves those before as they were', () => {
  test('while a tensor is read', async () => {
    await three()
    const model = await learned(20)
    const broken = {
      ...model,
      readState: async (name: string) => {
        if (name.startsWith('model.norm')) throw new GemmaError('worker', 'A worker died.')
        return model.readState(name)
      },
    }
    await expect(writeCheckpoint(directory, 20, broken, null)).rejects.toMatchObject({ code: 'worker' })
    expect((await readdir(directory)).sort()).toEqual(['step-000005', 'step-000010', 'step-000015'])
  })

  test('files may grow no further (as on a full disk)', async () => {
    await three()
    const script = `
      const { writeCheckpoint } = await import('./checkpoint.node.ts')
      const { fakeModel } = await import('./testing/fake-model.ts')
      process.on('SIGXFSZ', () => {})
      await writeCheckpoint(process.argv[1], 20, fakeModel(), null).then(
        () => console.log('written'), (error) => console.log(error.name, error.code, error.message))`
    const limited = `ulimit -f 4; exec "${process.execPath}" --input-type=module -e "$1" "$2"`
    const child = spawn('/bin/sh', ['-c', limited, 'sh', script, directory], {
      cwd: import.meta.dirname,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let said = ''
    child.stdout.on('data', (text) => (said += text))
    await once(child, 'close')
    expect(said).toMatch(
      /^GemmaError file The checkpoint of step 20 was not written: .* Those before it are as they were/,
    )
    expect((await readdir(directory)).sort()).toEqual(['step-000005', 'step-000010', 'step-000015'])
    expect((await findCheckpoint(directory, expect.unreachable))!.step).toBe(15)
  })
})

describe('one process trains in a directory', () => {
  test('a second is refused until the first has ended', async () => {
    const run = join(scratch, 'locked')
    const release = await lockRun(run)
    await expect(lockRun(run)).rejects.toMatchObject({
      code: 'training',
      message: expect.stringMatching(`Process ${process.pid} trains in .*locked already`),
    })
    await release()
    await (await lockRun(run))()
    expect(await readdir(run)).toEqual([])
  })

  test('a file is no run directory', async () => {
    await writeFile(join(scratch, 'file'), '')
    await expect(lockRun(join(scratch, 'file'))).rejects.toThrow(/file is a file, not a directory/)
  })

  test('the lock of a process that is gone counts for nothing', async () => {
    const run = join(scratch, 'stale')
    const child = spawn(process.execPath, ['-e', ''])
    await once(child, 'close')
    for (const holder of [`${child.pid} ${hostname()}`, `${process.pid} ${hostname()}`, '', 'rubbish']) {
      await mkdir(run, { recursive: true })
      await writeFile(join(run, 'train.lock'), holder)
      await (await lockRun(run))()
    }
    const living = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
    await writeFile(join(run, 'train.lock'), `${living.pid} ${hostname()}`)
    await expect(lockRun(run)).rejects.toMatchObject({ code: 'training' })
    living.kill('SIGKILL')
    await once(living, 'close')
    await (await lockRun(run))()
  })

  test('another machine is believed as long as it touches its lock', async () => {
    const run = join(scratch, 'elsewhere')
    await mkdir(run)
    const path = join(run, 'train.lock')
    await writeFile(path, '17 elsewhere.example')
    await expect(lockRun(run)).rejects.toThrow(/Process 17 on elsewhere\.example trains/)
    const { utimes } = await import('node:fs/promises')
    await utimes(path, 1, 1)
    await (await lockRun(run))()
  })
})
