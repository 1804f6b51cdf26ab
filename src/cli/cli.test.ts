// The program as its users meet it: real processes on the golden models, their output, exit codes, pipes,
// Ctrl-C, terminals.

import { cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startModelServer } from '../hub/testing/model-server.ts'
import { hasTerminal, root, runAtTerminal, runCli } from './testing/run-cli.ts'

const MODEL = 'test/data/models/gemma1-mqa'
const readJson = async (path: string) => JSON.parse(await readFile(join(root, path), 'utf8'))
const golden = await readJson(`${MODEL}/expected.json`)
const { short, long } = golden.prompts
/** What a line of output may hold. */
interface Answer {
  readonly tokens: number[]
  readonly logprobs: number[]
  readonly sum: number
  readonly greedy: boolean
  readonly truncated: number
  readonly usage: { readonly promptTokens: number; readonly completionTokens: number }
}
interface Case {
  readonly text: string
  readonly ids: number[]
  readonly note?: string
}
const linesOf = (text: string): Answer[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
const close = (actual: number[], expected: number[]): void => {
  expect(actual.length).toBe(expected.length)
  actual.forEach((value, i) => {
    expect(Math.abs(value - expected[i])).toBeLessThan(0.05)
  })
}

let scratch: string
/** The same model with room for a text that takes seconds. */
let patient: string

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gemma-cli-'))
  patient = join(scratch, 'patient')
  await cp(join(root, MODEL), patient, { recursive: true })
  const config = await readJson(`${MODEL}/config.json`)
  await writeFile(
    join(patient, 'config.json'),
    JSON.stringify({ ...config, max_position_embeddings: 65_536 }),
  )
})

afterAll(() => rm(scratch, { recursive: true, force: true }))

describe.concurrent('generate', () => {
  test('--json gives the golden tokens and all figures', async () => {
    const args = ['--prompt', short.text, '--max-tokens', '32', '--json', '--logprobs', '--quiet']
    const { code, stdout, stderr } = await runCli(['generate', MODEL, ...args])
    expect(stderr).toBe('')
    expect(code).toBe(0)
    expect(stdout.trimEnd()).not.toContain('\n')
    const { text, tokens, finishReason, usage, timing, logprobs } = JSON.parse(stdout)
    expect(tokens).toEqual(short.greedy.ids)
    expect(text).toBe(short.greedy.text)
    expect(finishReason).toBe('length')
    expect(usage).toEqual({ promptTokens: 9, completionTokens: 32 })
    for (const name of [
      'loadMs',
      'prefillMs',
      'decodeMs',
      'prefillTokensPerSecond',
      'decodeTokensPerSecond',
    ]) {
      expect(timing[name]).toBeGreaterThan(0)
    }
    close(logprobs, short.greedy.logprobs)
  })

  test('streams text to stdout, figures to stderr; the prompt comes from stdin', async () => {
    const { code, stdout, stderr } = await runCli(['generate', MODEL, '-n', '32'], {
      input: `${short.text}\n`,
    })
    expect(code).toBe(0)
    expect(stdout).toBe(`${short.greedy.text}\n`)
    expect(stderr).toMatch(/^9 prompt tokens, .*tokens\/s · 32 new tokens, .*tokens\/s · loaded in/)
  })

  test('--prompt-file, --stop, --logprobs for people', async () => {
    const file = join(scratch, 'prompt.txt')
    await writeFile(file, short.text)
    const stopped = await runCli(['generate', MODEL, '-f', file, '-n', '32', '--stop', ' long', '-q'])
    expect(stopped.stdout).toBe('<unused81><unused78>uuu\n')
    const listed = await runCli(['generate', MODEL, '-f', file, '-n', '2', '--logprobs', '-q'])
    expect(listed.stdout).toMatch(/^88\t-4\.45\d+\t"<unused81>"\n85\t-4\.0\d+\t"<unused78>"\n$/)
  })

  test('--chat puts the prompt into the chat format; a seed repeats a text', async () => {
    const args = [
      'generate',
      MODEL,
      '--chat',
      '-p',
      'Hi',
      '-n',
      '6',
      '-t',
      '1',
      '--seed',
      '7',
      '--json',
      '-q',
    ]
    const [first, second] = await Promise.all([runCli(args), runCli(args)])
    const { tokens, usage } = JSON.parse(first.stdout)
    expect(usage.promptTokens).toBe(14)
    expect(JSON.parse(second.stdout).tokens).toEqual(tokens)
  })

  test('Ctrl-C ends it at once with 130', async () => {
    const { code, stdout, stderr } = await runCli(
      ['generate', patient, '-p', 'Hello', '--context', '65536'],
      {
        onOutput: (output, child) => void (output.stdout !== '' && child.kill('SIGINT')),
      },
    )
    expect(code).toBe(130)
    expect(stdout).not.toBe('')
    expect(stderr).toBe('')
  })

  test('a reader that has seen enough is no failure', async () => {
    const { code, stderr } = await runCli(['generate', patient, '-p', 'Hello', '-q'], {
      onOutput: (output, child) => void (output.stdout !== '' && child.stdout?.destroy()),
    })
    expect([code, stderr]).toEqual([0, ''])
  })
})

describe.concurrent('mistakes', () => {
  const usage: [string, string[], string][] = [
    ['no command', [], 'Usage: gemma'],
    ['an unknown command', ['foo'], "gemma: unknown command 'foo'"],
    ['no model', ['generate'], "missing required argument 'model'"],
    ['an unknown option', ['generate', MODEL, '--nope'], "unknown option '--nope'"],
    ['a word too many', ['generate', MODEL, 'hello', '-p', 'x'], 'too many arguments'],
    ['an empty prompt', ['generate', MODEL, '-p', ''], 'The prompt is empty.'],
    ['an empty stdin', ['generate', MODEL], 'The prompt is empty: stdin holds no text.'],
    ['two prompts', ['generate', MODEL, '-p', 'x', '-f', 'y'], 'contradict each other'],
    ['a negative number', ['generate', MODEL, '-p', 'x', '-n', '-1'], 'Expected a whole number from 0'],
    ['garbage for a number', ['generate', MODEL, '-p', 'x', '-t', 'warm'], 'Expected a number from 0'],
    [
      'an unknown precision',
      ['generate', MODEL, '-p', 'x', '--dtype', 'q8'],
      'Allowed choices are auto, f32',
    ],
    ['a context past the model', ['generate', MODEL, '-p', 'x', '--context', '257'], 'from 2 to 256'],
    ['a name of no form', ['generate', 'gemma', '-p', 'x'], '"gemma" names no model'],
    [
      'integers as safetensors',
      ['convert', MODEL, 'x', '--dtype', 'int4', '--format', 'safetensors'],
      'not int4',
    ],
    ['no precision', ['convert', MODEL, 'x'], "required option '--dtype <type>' not specified"],
    ['--decode with --bos', ['tokenize', MODEL, '--decode', '--bos'], 'belong to encoding'],
  ]
  test.for(usage)('%s: exit 2', async ([, args, message], { expect }) => {
    const { code, stdout, stderr } = await runCli(args)
    expect(stderr).toContain(message)
    expect([code, stdout]).toEqual([2, ''])
  })

  const failures: [string, string[], string][] = [
    ['no such file', ['generate', './nowhere', '-p', 'x'], './nowhere: no such file or directory'],
    ['a prompt too long', ['generate', MODEL, '-p', 'a b '.repeat(200)], 'the context has room for 256'],
    ['a broken file', ['inspect', 'test/data/README.md'], 'test/data/README.md'],
    ['a system message that Gemma 1 refuses', ['chat', MODEL, '--system', 'x'], 'System role not supported'],
  ]
  test.for(failures)('%s: exit 1, one line', async ([, args, message], { expect }) => {
    const { code, stdout, stderr } = await runCli(args)
    expect(stderr).toContain(message)
    expect(stderr).toMatch(/^gemma: [^\n]+\n$/)
    expect([code, stdout]).toEqual([1, ''])
  })

  test('DEBUG=1 shows where', async () => {
    const { stderr } = await runCli(['inspect', './nowhere'], { env: { DEBUG: '1' } })
    expect(stderr).toMatch(/^gemma: .*\n(.*\n)*\s+at /)
  })
})

describe.concurrent('chat from a pipe', () => {
  test('one conversation, one JSON object per answer', async () => {
    const args = ['chat', MODEL, '--json', '-n', '4', '--quiet']
    const { code, stdout, stderr } = await runCli(args, { input: 'Hi\n\nMore\n/reset\nHi' })
    expect([code, stderr]).toEqual([0, ''])
    const answers = linesOf(stdout)
    expect(answers.length).toBe(3)
    expect(answers[1].usage.promptTokens).toBeGreaterThan(answers[0].usage.promptTokens + 4)
    expect(answers[2].usage).toEqual(answers[0].usage)
    expect(answers[2].tokens).toEqual(answers[0].tokens)
  })

  test('text on stdout, figures on stderr, a word when old messages are left out', async () => {
    const args = ['chat', 'test/data/models/gemma3', '--system', 'Be brief.', '-n', '20', '-t', '0']
    const input = 'One question of a few words.\n'.repeat(8)
    const { code, stdout, stderr } = await runCli(args, { input })
    expect(code).toBe(0)
    expect(stdout.length).toBeGreaterThan(8)
    expect(stderr.match(/tokens\/s · \d+ of 256 tokens of context used, \d+ left/g)?.length).toBe(8)
    expect(stderr).toContain('messages are left out from now on')
  })

  test('answers come as their lines come; Ctrl-C while it waits leaves with 130', async () => {
    const { code, stdout } = await runCli(['chat', MODEL, '--json', '-n', '4', '-q'], {
      input: null,
      onStart: (child) => void child.stdin?.write('Hi\n'),
      onOutput: (output, child) => void (output.stdout.endsWith('\n') && child.kill('SIGINT')),
    })
    expect(code).toBe(130)
    expect(linesOf(stdout).length).toBe(1)
  })
})

describe.skipIf(!hasTerminal)('at a terminal (needs util-linux script)', () => {
  test('Ctrl-C stops an answer, /commands work, Ctrl-C at the prompt leaves with 130', async () => {
    const { code, stdout } = await runAtTerminal(
      ['chat', patient, '--context', '65536'],
      [
        { waitFor: '> ', type: 'Hello there\n' },
        { waitFor: /Hello there[\r\n]+[^\r\n]/, type: '\u0003' },
        { waitFor: 'Stopped.', type: '' },
        { waitFor: '> ', type: '/help\n' },
        { waitFor: 'begin a new conversation', type: '' },
        { waitFor: '> ', type: '/reset\n' },
        { waitFor: 'A new conversation.', type: '' },
        { waitFor: '> ', type: '\u0003' },
      ],
      { NO_COLOR: '1' },
    )
    expect(stdout).toContain('A new conversation.')
    expect(code).toBe(130)
  })

  test('lines that are pasted together are answered in turn; Ctrl-D leaves with 0', async () => {
    const { code, stdout } = await runAtTerminal(
      ['chat', MODEL, '-n', '2'],
      [
        { waitFor: '> ', type: 'One\nTwo\n' },
        { waitFor: ' left', type: '' },
        { waitFor: ' left', type: '' },
        { waitFor: '> ', type: '\u0004' },
      ],
    )
    expect(code).toBe(0)
    expect(stdout.match(/tokens\/s/g)?.length).toBe(2)
    expect(stdout).toContain('\u001b[2m')
  })

  test('NO_COLOR leaves colours out', async () => {
    const args = ['tokenize', MODEL, '--text', 'Hello, you']
    const [plain, coloured] = await Promise.all([
      runAtTerminal(args, [], { NO_COLOR: '1' }),
      runAtTerminal(args, []),
    ])
    expect(plain.stdout).not.toContain('\u001b[')
    expect(plain.stdout).toContain('H ell o ,')
    expect(coloured.stdout).toContain('\u001b[30;46m')
  })
})

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
  const { parseConfig } = await import('../model/config.ts')
  const { parameterSpecs } = await import('../model/parameters.ts')
  const tiny = await readJson(`${MODEL}/config.json`)
  const config = { ...tiny, num_hidden_layers: 50, intermediate_size: 10_240 }
  return { config, specs: parameterSpecs(parseConfig(config)) }
}

describe.concurrent('bench, help, version', () => {
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

  test.for(['generate', 'chat', 'tokenize', 'score', 'inspect', 'convert', 'bench'])(
    '%s --help shows examples',
    async (name, { expect }) => {
      const { code, stdout, stderr } = await runCli([name, '--help'])
      expect([code, stderr]).toEqual([0, ''])
      expect(stdout).toMatch(new RegExp(`Examples:\\n(.*\\n)*?.*gemma ${name} `))
    },
  )

  test('--version and --help', async () => {
    const [version, help] = await Promise.all([runCli(['--version']), runCli(['--help'])])
    expect(version.stdout).toBe(`${(await readJson('package.json')).version}\n`)
    expect(help.stdout).toContain('Exit codes: 0 success')
    expect([version.code, help.code]).toEqual([0, 0])
  })
})
