// The commands that read and write data, as processes on the golden models: tokenize, score, inspect,
// convert, bench.

import { cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startModelServer } from '../hub/testing/model-server.ts'
import { parseConfig } from '../model/config.ts'
import { parameterSpecs } from '../model/parameters.ts'
import { type Case, close, linesOf, long, MODEL, readJson, short } from './testing/golden.ts'
import { root, runCli } from './testing/run-cli.ts'

let scratch: string

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gemma-cli-'))
})

afterAll(() => rm(scratch, { recursive: true, force: true }))

describe.concurrent('tokenize', () => {
  test('the golden texts, both ways, from every form of tokenizer', async () => {
    const small = await readJson('test/data/goldens/tokenizer/small.json')
    const cases: Case[] = small.cases.filter((one: Case) => !one.note)
    const decodeCases: Case[] = small.decode_cases
    const input = cases.map(({ text }) => `${JSON.stringify(text)}\n`).join('')
    const sources = [MODEL, `${MODEL}/tokenizer.model`, `${MODEL}/gguf/model-q4_0.gguf`]
    const outcomes = await Promise.all(
      sources.map((source) => runCli(['tokenize', source, '--json'], { input })),
    )
    for (const { stdout, stderr } of outcomes) {
      expect(stderr).toBe('')
      expect(linesOf(stdout)).toEqual(cases.map(({ ids }) => ({ ids })))
    }
    const ids = decodeCases.map((one) => `${JSON.stringify(one.ids)}\n`).join('')
    const back = await runCli(['tokenize', `${MODEL}/tokenizer.json`, '--json', '--decode'], { input: ids })
    expect(linesOf(back.stdout)).toEqual(decodeCases.map(({ text }) => ({ text })))
  })

  test('--bos, --control, and ids and pieces for people', async () => {
    const input = '<bos>Hello\n'
    const bos = await runCli(['tokenize', MODEL, '--bos', '--control'], { input })
    expect(bos.stdout).toBe('<bos> <bos> H ell o\n2 2 891 717 856\n5 tokens\n')
    const decoded = await runCli(['tokenize', MODEL, '--decode'], { input: '891, 717 856' })
    expect(decoded.stdout).toBe('Hello\n')
    const coloured = await runCli(['tokenize', MODEL, '--text', 'Hello'], { env: { FORCE_COLOR: '1' } })
    expect(coloured.stdout).toContain('\u001b[30;46mH\u001b[0m')
  })

  test('a line that is wrong is named; what came before it is answered', async () => {
    const { code, stdout, stderr } = await runCli(['tokenize', MODEL, '--json'], {
      input: '"Hello"\n{"a":1}\n',
    })
    expect(linesOf(stdout)).toEqual([{ ids: [891, 717, 856] }])
    expect([code, stderr]).toEqual([1, 'gemma: Line 2 of the input: Expected a JSON string, got {"a":1}.\n'])
  })
})

describe.concurrent('score', () => {
  test('tokens, text and continuations give the golden log-probabilities', async () => {
    const input = [
      { tokens: short.ids },
      { text: short.text },
      { context: 'Hello, how ', continuation: 'are you?' },
      { context: '', continuation: short.text },
      { tokens: [2, ...short.greedy.ids.slice(0, 1)] },
    ]
    const { code, stdout, stderr } = await runCli(['score', MODEL, '-q'], {
      input: input.map((one) => `${JSON.stringify(one)}\n`).join(''),
    })
    expect([code, stderr]).toEqual([0, ''])
    const [tokens, text, continuation, empty] = linesOf(stdout)
    expect(tokens.tokens).toEqual(short.ids)
    expect(tokens.logprobs[0]).toBe(null)
    close(tokens.logprobs.slice(1), short.prompt_logprobs.slice(1))
    expect(tokens.sum).toBeCloseTo(
      tokens.logprobs.reduce((sum: number, value: number) => sum + value, 0),
      9,
    )
    expect(tokens.greedy).toBe(false)
    expect(text).toEqual(tokens)
    expect(continuation.tokens).toEqual(short.ids.slice(-3))
    close(continuation.logprobs, short.prompt_logprobs.slice(-3))
    expect(empty.tokens).toEqual(short.ids.slice(1))
    close(empty.logprobs, short.prompt_logprobs.slice(1))
  })

  test('greedy when each token is the likeliest; a long context loses its beginning', async () => {
    const greedy = [...short.ids, ...short.greedy.ids]
    const context = 'a b '.repeat(200)
    const lines = [
      { tokens: greedy.slice(0, 10) },
      { context, continuation: ' c' },
      { context: 'x', continuation: context },
    ]
    const { code, stdout, stderr } = await runCli(['score', MODEL, '--threads', '1'], {
      input: lines.map((one) => `${JSON.stringify(one)}\n`).join(''),
    })
    const answers = linesOf(stdout)
    expect(answers[1].truncated).toBeGreaterThan(100)
    expect(answers[1].logprobs.length).toBe(answers[1].tokens.length)
    expect(answers.length).toBe(2)
    expect(stderr).toMatch(/^gemma: Line 3 of the input: The continuation alone has \d+ tokens/)
    expect(code).toBe(1)
  })

  test('answers line by line, before its input ends', async () => {
    const { code, stdout } = await runCli(['score', MODEL, '-q'], {
      input: null,
      onStart: (child) => void child.stdin?.write(`${JSON.stringify({ tokens: long.ids })}\n`),
      onOutput: (output, child) => void (output.stdout.endsWith('\n') && child.stdin?.end()),
    })
    expect(code).toBe(0)
    close(linesOf(stdout)[0].logprobs.slice(1), long.prompt_logprobs.slice(1))
  })
})

describe.concurrent('inspect', () => {
  test('the same model in every container, without reading weights', async () => {
    const files = ['', '/gguf/model-q8_0.gguf', '/sharded'].map((file) => `${MODEL}${file}`)
    const outcomes = await Promise.all(files.map((file) => runCli(['inspect', file, '--json'])))
    const [whole, gguf, sharded] = outcomes.map(({ stdout }) => JSON.parse(stdout))
    for (const one of [whole, gguf, sharded]) {
      expect(one.generation).toBe(1)
      expect(one.config.hidden_size).toBe(96)
      expect(one.parameters).toEqual({ total: 258528, embedding: 98304, nonEmbedding: 160224 })
      expect(one.memory.kvPerToken).toBe(2 * 2 * 32 * 4)
    }
    expect(whole.dtypes).toEqual({ BF16: 258528 })
    expect(whole.bytes).toBe(2 * 258528)
    expect(sharded.bytes).toBe(whole.bytes)
    expect(gguf.dtypes).toEqual({ F32: 480, Q8_0: 258048 })
    expect(gguf.memory.weights).toBeLessThan(whole.memory.weights)
  })

  test('for people', async () => {
    const { code, stdout } = await runCli(['inspect', MODEL])
    expect(code).toBe(0)
    expect(stdout).toContain('Gemma 1, safetensors, 517 kB of weights (BF16)')
    expect(stdout).toMatch(/int4 +147 kB +131 kB/)
  })

  test('a model on a Hub: what it needs before anything is downloaded; then generate fetches it', async () => {
    const server = await startModelServer()
    try {
      const names = ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.model']
      const entries = names.map(async (name) => [name, await readFile(join(root, MODEL, name))] as const)
      const files = Object.fromEntries(await Promise.all(entries))
      const commit = '0123456789abcdef0123456789abcdef01234567'
      server.models.set('google/gemma-tiny', { files, commit })
      const env = { HF_HOME: join(scratch, 'home'), HF_ENDPOINT: server.endpoint, HF_HUB_OFFLINE: undefined }
      const before = JSON.parse((await runCli(['inspect', 'google/gemma-tiny', '--json'], { env })).stdout)
      expect(before).toMatchObject({ downloaded: false, generation: 1, bytes: 519144 })
      expect(before.parameters.total).toBe(258528)
      expect(before.precisions.map(({ dtype }: { dtype: string }) => dtype)).toEqual([
        'auto',
        'bf16',
        'int8',
        'int4',
      ])
      const args = ['generate', 'google/gemma-tiny', '-p', short.text, '-n', '8', '--json']
      const { stdout, stderr } = await runCli(args, { env })
      expect(JSON.parse(stdout).tokens).toEqual(short.greedy.ids.slice(0, 8))
      expect(stderr).toContain('google/gemma-tiny: 541 kB to download')
      const after = JSON.parse((await runCli(['inspect', 'google/gemma-tiny', '--json'], { env })).stdout)
      expect(after).toMatchObject({ downloaded: true, dtypes: { BF16: 258528 } })
    } finally {
      await server.close()
    }
  })
})

describe.concurrent('convert', () => {
  test('to GGUF and back; an existing file stays unless --force', async () => {
    const gguf = join(scratch, 'model.gguf')
    const first = await runCli(['convert', MODEL, gguf, '--dtype', 'bf16'])
    expect([first.code, first.stdout]).toEqual([0, ''])
    expect(first.stderr).toMatch(/model\.gguf: 51\d kB of weights in/)
    const again = await runCli(['convert', MODEL, gguf, '--dtype', 'int8'])
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('exists')])
    const directory = join(scratch, 'back')
    expect((await runCli(['convert', gguf, directory, '--dtype', 'bf16', '-q'])).code).toBe(0)
    const args = ['-p', short.text, '-n', '32', '--json', '-q']
    const { stdout } = await runCli(['generate', directory, ...args])
    expect(JSON.parse(stdout).tokens).toEqual(short.greedy.ids)
    const forced = await runCli(['convert', MODEL, gguf, '--dtype', 'int8', '--force', '-q'])
    expect([forced.code, forced.stderr]).toEqual([0, ''])
  })

  test('Ctrl-C leaves nothing behind', async () => {
    const source = join(scratch, 'large')
    const target = join(scratch, 'interrupted')
    await mkdir(target)
    await writeLargeModel(source)
    const running = runCli(['convert', source, join(target, 'out.gguf'), '--dtype', 'f32'], {
      input: null,
      onStart: async (child) => {
        while ((await readdir(target)).length === 0) await new Promise((wait) => setTimeout(wait, 2))
        child.kill('SIGINT')
      },
    })
    expect((await running).code).toBe(130)
    expect(await readdir(target)).toEqual([])
  })
})

/** A model of 300 MB of zeros, which take no space on the disk. */
async function writeLargeModel(directory: string): Promise<void> {
  const { specs, config } = await largeModel()
  const header: Record<string, unknown> = {}
  let offset = 0
  for (const { name, shape } of specs) {
    const bytes = 2 * shape.reduce((product, size) => product * size, 1)
    header[name] = { dtype: 'BF16', shape, data_offsets: [offset, offset + bytes] }
    offset += bytes
  }
  const json = new TextEncoder().encode(JSON.stringify(header))
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(json.length), true)
  await mkdir(directory)
  await cp(join(root, MODEL, 'tokenizer.model'), join(directory, 'tokenizer.model'))
  await writeFile(join(directory, 'config.json'), JSON.stringify(config))
  const path = join(directory, 'model.safetensors')
  await writeFile(path, Buffer.concat([length, json]))
  await truncate(path, 8 + json.length + offset)
}

async function largeModel() {
  const tiny = await readJson(`${MODEL}/config.json`)
  const config = { ...tiny, num_hidden_layers: 50, intermediate_size: 10_240 }
  return { config, specs: parameterSpecs(parseConfig(config)) }
}

describe.concurrent('bench', () => {
  test('bench --json', async () => {
    const args = ['--prompt-tokens', '40', '--new-tokens', '8', '--threads', '1', '--reps', '2', '--json']
    const { code, stdout, stderr } = await runCli(['bench', MODEL, ...args])
    expect([code, stderr]).toEqual([0, ''])
    const report = JSON.parse(stdout)
    expect(report).toMatchObject({ promptTokens: 40, newTokens: 8, reps: 2, weightBytes: 518016 })
    expect(report.runs.length).toBe(2)
    expect(report.peakRss).toBeGreaterThan(20e6)
    for (const name of [
      'loadMs',
      'prefillTokensPerSecond',
      'decodeTokensPerSecond',
      'decodeGigabytesPerSecond',
    ]) {
      expect(report[name]).toBeGreaterThan(0)
    }
  })
})
