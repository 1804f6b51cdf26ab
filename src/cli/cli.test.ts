// The program as its users meet it: real processes on the golden models, their output, exit codes, pipes,
// Ctrl-C, terminals.

import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { close, linesOf, MODEL, readJson, short } from './testing/golden.ts'
import { hasTerminal, root, runAtTerminal, runCli } from './testing/run-cli.ts'

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
    expect(usage).toEqual({ promptTokens: 9, cachedTokens: 0, completionTokens: 32 })
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
    ['no question', ['generate'], 'The prompt is empty: stdin holds no text.'],
    ['no model', ['score'], "missing required argument 'model'"],
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
    ['no precision', ['convert', MODEL, 'x'], '--dtype is missing. Choose f32'],
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
    // After /reset the prompt is the first one's, and begins as the cache does.
    const { cachedTokens } = answers[2].usage
    expect(cachedTokens).toBeGreaterThan(0)
    expect(answers[2].usage).toEqual({ ...answers[0].usage, cachedTokens })
    expect([answers[0].usage.cachedTokens, answers[1].usage.cachedTokens > 10]).toEqual([0, true])
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

describe.concurrent('help and version', () => {
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
