import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GemmaError } from '../error.ts'
import { openMetrics } from './metrics.node.ts'
import { formatMetricsLine, parseMetricsLine, type StepRecord, scalarsOf, stepLine } from './metrics.ts'
import { readSamples } from './metrics-read.node.ts'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gemma-metrics-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

let runs = 0
async function newRun(): Promise<string> {
  const run = join(directory, `run-${runs++}`)
  await mkdir(run)
  return run
}

const step = (number: number, loss = 1 / number): StepRecord => ({
  step: number,
  loss,
  meanTokenAccuracy: 0.25,
  learningRate: 3e-4,
  gradientNorm: 1.5,
  tokens: 100 * number,
  tokensPerSecond: 1000,
  seconds: number / 10,
  epoch: number / 1000,
})

async function linesOf(run: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(run, 'metrics.jsonl'), 'utf8')
  expect(text === '' || text.endsWith('\n')).toBe(true)
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

async function eventBytes(run: string): Promise<Buffer> {
  const names = await readdir(join(run, 'tensorboard'))
  expect(names).toHaveLength(1)
  expect(names[0]).toMatch(/^events\.out\.tfevents\.\d{10}\.gemma$/)
  return readFile(join(run, 'tensorboard', names[0]))
}

interface ReadEvent {
  step: number
  version?: string
  starts?: boolean
  scalars: Record<string, number>
}

/** A reader of its own: checks every checksum bit by bit and walks the messages by their keys. */
function readEvents(bytes: Buffer): ReadEvent[] {
  const checksum = (data: Buffer): number => {
    let crc = 0xffffffff
    for (const byte of data) {
      for (let bit = 0; bit < 8; bit++) {
        const low = (crc ^ (byte >> bit)) & 1
        crc = (crc >>> 1) ^ (low ? 0x82f63b78 : 0)
      }
    }
    const whole = ~crc >>> 0
    return (Math.floor(whole / 2 ** 15) + (whole % 2 ** 15) * 2 ** 17 + 0xa282ead8) % 2 ** 32
  }
  const events: ReadEvent[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at))
    expect(bytes.readUInt32LE(at + 8)).toBe(checksum(bytes.subarray(at, at + 8)))
    const data = bytes.subarray(at + 12, at + 12 + length)
    expect(data.length).toBe(length)
    expect(bytes.readUInt32LE(at + 12 + length)).toBe(checksum(data))
    at += length + 16
    const event: ReadEvent = { step: 0, scalars: {} }
    for (const [field, value] of fieldsOf(data)) {
      if (field === 2) event.step = value as number
      if (field === 3) event.version = (value as Buffer).toString()
      if (field === 7) event.starts = true
      if (field !== 5) continue
      for (const [, one] of fieldsOf(value as Buffer)) {
        const parts = new Map(fieldsOf(one as Buffer))
        event.scalars[(parts.get(1) as Buffer).toString()] = (parts.get(2) as Buffer).readFloatLE()
      }
    }
    events.push(event)
  }
  return events
}

function fieldsOf(data: Buffer): [number, number | Buffer][] {
  const fields: [number, number | Buffer][] = []
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = data[at++]
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }
  while (at < data.length) {
    const key = varint()
    const type = key & 7
    if (type === 0) {
      fields.push([key >> 3, varint()])
      continue
    }
    const length = type === 1 ? 8 : type === 5 ? 4 : varint()
    fields.push([key >> 3, data.subarray(at, at + length)])
    at += length
  }
  return fields
}

describe('lines', () => {
  it('name values as other programs do', () => {
    expect(formatMetricsLine(stepLine(step(2)))).toBe(
      '{"step":2,"loss":0.5,"mean_token_accuracy":0.25,"learning_rate":0.0003,"grad_norm":1.5,' +
        '"num_tokens":200,"tokens_per_second":1000,"seconds":0.2,"epoch":0.002}\n',
    )
    expect(stepLine({ step: 1, loss: 2 })).toEqual({ step: 1, loss: 2 })
  })

  it('say what JSON has no number for', () => {
    const record = { step: 1, loss: Number.NaN, gradientNorm: Number.POSITIVE_INFINITY }
    const text = formatMetricsLine({ ...stepLine(record), low: Number.NEGATIVE_INFINITY })
    expect(text).toBe('{"step":1,"loss":"NaN","grad_norm":"Infinity","low":"-Infinity"}\n')
    expect(scalarsOf(parseMetricsLine(text)!)).toEqual([
      { tag: 'train/loss', value: Number.NaN },
      { tag: 'train/grad_norm', value: Number.POSITIVE_INFINITY },
      { tag: 'train/low', value: Number.NEGATIVE_INFINITY },
    ])
  })

  it.each([
    '',
    '{',
    'null',
    '[1]',
    '3',
    '{"loss":1}',
    '{"step":-1}',
    '{"step":1.5}',
    '{"step":"1"}',
    '{"step":1,"loss":2.',
  ])('are refused when they say nothing: %s', (text) => {
    expect(parseMetricsLine(text)).toBeUndefined()
  })
})

describe('openMetrics', () => {
  it('writes lines and events', async () => {
    const run = await newRun()
    const metrics = await openMetrics(run)
    metrics.start({ steps: 2, parameters: 1234, clip: 1 })
    metrics.step(step(1))
    metrics.evaluation({ step: 1, loss: 2, accuracy: 0.5, targets: 10, seconds: 0.5 })
    metrics.evaluation({ step: 1, loss: 3, source: 'stories' })
    metrics.step(step(2))
    metrics.event('checkpoint', 2, { path: 'checkpoints/step-000002' })
    metrics.end({ step: 2, reason: 'finished' })
    await metrics.close()
    await metrics.close()

    const lines = await linesOf(run)
    expect(lines.map(({ time, ...rest }) => rest)).toEqual([
      { event: 'start', step: 0, steps: 2, parameters: 1234, clip: 1 },
      stepLine(step(1)),
      {
        step: 1,
        eval_loss: 2,
        eval_perplexity: Math.exp(2),
        eval_accuracy: 0.5,
        eval_num_targets: 10,
        eval_seconds: 0.5,
      },
      { step: 1, eval_loss: 3, eval_perplexity: Math.exp(3), eval_source: 'stories' },
      stepLine(step(2)),
      { event: 'checkpoint', step: 2, path: 'checkpoints/step-000002' },
      { event: 'end', step: 2, reason: 'finished' },
    ])
    for (const { time } of lines) expect(time).toBeGreaterThan(1.7e9)

    const events = readEvents(await eventBytes(run))
    expect(events.map((event) => event.step)).toEqual([0, 1, 1, 1, 2])
    expect(events[0]).toEqual({ step: 0, version: 'brain.Event:2', scalars: {} })
    expect(events[1].scalars).toEqual({
      'train/loss': 1,
      'train/mean_token_accuracy': 0.25,
      'train/learning_rate': Math.fround(3e-4),
      'train/grad_norm': 1.5,
      'train/num_tokens': 100,
      'train/tokens_per_second': 1000,
      'train/seconds': Math.fround(0.1),
      'train/epoch': Math.fround(0.001),
    })
    expect(events[2].scalars).toMatchObject({ 'eval/loss': 2, 'eval/accuracy': 0.5 })
    expect(events[3].scalars).toMatchObject({ 'eval/stories/loss': 3 })
  })

  it('cuts off what came after the checkpoint, so that no curve has doubles', async () => {
    const run = await newRun()
    const first = await openMetrics(run)
    first.start({})
    for (let number = 1; number <= 5; number++) {
      first.step(step(number))
      first.sample({ step: number, prompt: 'The', text: ` fox ${number}` })
    }
    await first.close()
    const second = await openMetrics(run, { resumeAtStep: 3 })
    second.start({})
    second.step(step(4, 99))
    second.sample({ step: 4, prompt: 'The', text: ' owl' })
    await second.close()

    const lines = await linesOf(run)
    expect(lines.map((line) => [line.event, line.step, line.loss])).toEqual([
      ['start', 0, undefined],
      [undefined, 1, 1],
      [undefined, 2, 1 / 2],
      [undefined, 3, 1 / 3],
      ['start', 3, undefined],
      [undefined, 4, 99],
    ])
    const events = readEvents(await eventBytes(run))
    expect(events.map((event) => event.step)).toEqual([0, 0, 1, 2, 3, 4])
    expect(events[1].starts).toBe(true)
    expect(events[5].scalars['train/loss']).toBe(99)
    const samples = await readSamples(run)
    expect(samples.map((sample) => sample.text)).toEqual([' fox 1', ' fox 2', ' fox 3', ' owl'])
  })

  it('repairs what a kill has torn', async () => {
    const run = await newRun()
    const first = await openMetrics(run)
    first.step(step(1))
    first.step(step(2))
    await first.close()
    await appendFile(join(run, 'metrics.jsonl'), '{"step":3,"lo')
    const [name] = await readdir(join(run, 'tensorboard'))
    await appendFile(join(run, 'tensorboard', name), Uint8Array.of(9, 9, 9))
    const second = await openMetrics(run, { resumeAtStep: 2 })
    second.step(step(3))
    await second.close()
    expect((await linesOf(run)).map((line) => line.step)).toEqual([1, 2, 3])
    expect(readEvents(await eventBytes(run)).map((event) => event.step)).toEqual([0, 0, 1, 2, 3])
  })

  it('takes noise, giant lines and broken text for what they are', async () => {
    const run = await newRun()
    const noise = Buffer.from(Array.from({ length: 3000 }, (_, index) => (index * 7919) & 255))
    const text = [
      formatMetricsLine(stepLine(step(1))),
      `${'x'.repeat(3_000_000)}\n`,
      '\n\n',
      '{"step":2,"loss":"NaN"}',
    ]
    await writeFile(
      join(run, 'metrics.jsonl'),
      Buffer.concat([Buffer.from(text[0]), noise, ...text.map((one) => Buffer.from(one))]),
    )
    const metrics = await openMetrics(run, { resumeAtStep: 10 })
    await metrics.close()
    const lines = await linesOf(run)
    expect(lines.at(-1)).toEqual({ step: 2, loss: 'NaN' }) // without its line feed before
    expect(lines.every((line) => line.step === 1 || line.step === 2)).toBe(true)
  })

  it('begins anew where nothing is to be gone on from', async () => {
    const run = await newRun()
    const first = await openMetrics(run)
    first.step(step(1))
    first.sample({ step: 1, prompt: '', text: 'a' })
    await first.close()
    const second = await openMetrics(run)
    second.step(step(1, 7))
    await second.close()
    expect((await linesOf(run)).map((line) => line.loss)).toEqual([7])
    expect(await readSamples(run)).toEqual([])
    expect(readEvents(await eventBytes(run)).map((event) => event.step)).toEqual([0, 0, 1])
  })

  it('keeps what was said before the first step when it goes on from there', async () => {
    const run = await newRun()
    const first = await openMetrics(run)
    first.evaluation({ step: 0, loss: 5 })
    first.step(step(1))
    await first.close()
    await (await openMetrics(run, { resumeAtStep: 0 })).close()
    expect((await linesOf(run)).map((line) => line.step)).toEqual([0])
  })

  it('loses nothing when the process is killed', async () => {
    const run = await newRun()
    const module = fileURLToPath(new URL('./metrics.node.ts', import.meta.url))
    const script = `
      const { openMetrics } = await import(${JSON.stringify(module)})
      const metrics = await openMetrics(${JSON.stringify(run)})
      for (let step = 1; step <= 500; step++) metrics.step({ step, loss: step })
      process.kill(process.pid, 'SIGKILL')`
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', script])
    expect(child.signal, child.stderr.toString()).toBe('SIGKILL')
    expect((await linesOf(run)).map((line) => line.step)).toEqual(
      Array.from({ length: 500 }, (_, index) => index + 1),
    )
    expect(readEvents(await eventBytes(run))).toHaveLength(501)
  })

  it('leaves a whole file and says why when there is no room for the next line', async (test) => {
    if (process.platform === 'win32') return test.skip('there is no limit on file sizes to reach')
    const run = await newRun()
    const module = fileURLToPath(new URL('./metrics.node.ts', import.meta.url))
    const script = `
      process.on('SIGXFSZ', () => {})
      const { openMetrics } = await import(${JSON.stringify(module)})
      const metrics = await openMetrics(${JSON.stringify(run)})
      try {
        for (let step = 1; ; step++) metrics.event('note', step, { text: 'x'.repeat(70) })
      } catch (error) {
        console.log(error.name, error.code)
      }`
    const command = `ulimit -f 8; exec "$0" --input-type=module -e "$1"`
    const child = spawnSync('sh', ['-c', command, process.execPath, script], { encoding: 'utf8' })
    expect(child.stdout, child.stderr).toBe('GemmaError file\n')
    expect((await linesOf(run)).length).toBeGreaterThan(10)
  })

  it('says that the disk is full', async (test) => {
    if (!existsSync('/dev/full')) return test.skip('there is no /dev/full')
    const run = await newRun()
    const metrics = await openMetrics(run)
    await symlink('/dev/full', join(run, 'samples.jsonl'))
    expect(() => metrics.sample({ step: 1, prompt: '', text: 'a' })).toThrow(/disk is full.*Free some space/s)
    metrics.step(step(1))
    await metrics.close()
    expect(await linesOf(run)).toHaveLength(1)
  })

  it('refuses records after it was closed, and places that are no directory', async () => {
    const run = await newRun()
    const metrics = await openMetrics(run)
    await metrics.close()
    expect(() => metrics.step(step(1))).toThrow(GemmaError)
    await writeFile(join(run, 'file'), '')
    await expect(openMetrics(join(run, 'file'))).rejects.toThrow(GemmaError)
    await rm(join(run, 'metrics.jsonl'))
    await mkdir(join(run, 'metrics.jsonl'))
    await expect(openMetrics(run, { resumeAtStep: 1 })).rejects.toMatchObject({ code: 'file' })
  })
})
