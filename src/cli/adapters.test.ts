// Adapters at the command line: real processes on a golden model.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startModelServer } from '../hub/testing/model-server.ts'
import { ADAPTER_CONFIG, ADAPTER_MODEL } from '../weights/peft.ts'
import { configIn, writeTestAdapter } from '../weights/testing/adapter-files.ts'
import { parseAdapter } from './adapters.ts'
import { close, linesOf, MODEL, short } from './testing/golden.ts'
import { hasTerminal, root, runAtTerminal, runCli } from './testing/run-cli.ts'

let scratch: string
const adapter = (name: string): string => join(scratch, name)
/** The model with the adapter 'one' in it, and with both. */
const merged = (name: string): string => join(scratch, name)

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gemma-cli-adapters-'))
  const config = await configIn(join(root, MODEL))
  await writeTestAdapter(adapter('one'), config, { rank: 6, seed: 1 })
  await writeTestAdapter(adapter('two'), config, { rank: 2, seed: 2, targets: ['q_proj', 'up_proj'] })
  await writeTestAdapter(adapter('foreign'), await configIn(join(root, 'test/data/models/gemma2')))
  const convert = (out: string, ...args: string[]): Promise<unknown> =>
    runCli(['convert', MODEL, merged(out), '--merge', adapter('one'), '--dtype', 'f32', '-q', ...args])
  await Promise.all([convert('merged'), convert('merged-both', '--merge', adapter('two'))])
})
afterAll(() => rm(scratch, { recursive: true, force: true }))

const ASK = ['--prompt', short.text, '-n', '16', '--dtype', 'f32', '--threads', '0', '--json', '-q']

async function tokensOf(args: readonly string[]): Promise<number[]> {
  const { code, stdout, stderr } = await runCli(args)
  expect([code, stderr]).toEqual([0, ''])
  return JSON.parse(stdout).tokens
}

describe.concurrent('an adapter at run time', () => {
  test('generate: says what the merged model says, and not what the base says', async () => {
    const [applied, folded, bare] = await Promise.all([
      tokensOf(['generate', MODEL, ...ASK, '--adapter', adapter('one')]),
      tokensOf(['generate', merged('merged'), ...ASK]),
      tokensOf(['generate', MODEL, ...ASK]),
    ])
    expect(applied).toEqual(folded)
    expect(applied).not.toEqual(bare)
  })

  test('score: each line may name its adapter; without a name the first scores', async () => {
    const { ids } = short
    const lines = [{}, { adapter: 'mine' }, { adapter: null }, { adapter: 'two' }]
    const input = lines.map((line) => JSON.stringify({ tokens: ids, ...line })).join('\n')
    const named = ['--adapter', `mine=${adapter('one')}`, '--adapter', adapter('two')]
    const [all, folded] = await Promise.all([
      runCli(['score', MODEL, '--threads', '0', '--dtype', 'f32', ...named], { input }),
      runCli(['score', merged('merged'), '--threads', '0', '--dtype', 'f32'], {
        input: JSON.stringify({ tokens: ids }),
      }),
    ])
    expect(all.code).toBe(0)
    const [first, mine, none, two] = linesOf(all.stdout)
    expect(first).toEqual(mine)
    expect(Math.abs(mine!.sum - linesOf(folded.stdout)[0]!.sum)).toBeLessThan(1e-3)
    close(none!.logprobs.slice(1), short.prompt_logprobs.slice(1))
    expect(Math.abs(two!.sum - none!.sum)).toBeGreaterThan(0.1)
    const wrong = await runCli(['score', MODEL, ...named], { input: '{"tokens":[2,5],"adapter":"yours"}' })
    expect(wrong.code).toBe(1)
    expect(wrong.stderr).toContain(
      'Line 1 of the input: "adapter" is "yours", expected "mine" or "two" or null.',
    )
  })

  test('chat: /adapter changes who answers, in the middle of a conversation', async () => {
    const args = ['chat', MODEL, '--threads', '0', '--dtype', 'f32', '-n', '8', '--json', '-q']
    const input = 'Hello\n/adapter none\nAnd then?\n/adapter two\nWhy?\n'
    const both = ['--adapter', adapter('one'), '--adapter', adapter('two')]
    const swapped = await runCli([...args, ...both], { input })
    expect([swapped.code, swapped.stderr]).toEqual([0, ''])
    const [first, second, third] = linesOf(swapped.stdout).map(({ tokens }) => tokens)
    const alone = await runCli([...args, ...both.slice(0, 2)], { input: 'Hello\nAnd then?\n' })
    const [same, other] = linesOf(alone.stdout).map(({ tokens }) => tokens)
    expect(first).toEqual(same)
    expect(second).not.toEqual(other)
    expect(third).toHaveLength(8)
  })

  test('bench takes one too', async () => {
    const args = ['--prompt-tokens', '8', '--new-tokens', '2', '--threads', '1', '--reps', '1', '--json']
    const { code, stdout } = await runCli(['bench', MODEL, ...args, '--adapter', adapter('one')])
    expect(code).toBe(0)
    expect(JSON.parse(stdout).weightBytes).toBeGreaterThan(518016)
  })

  test('from a Hub: only its two files are fetched; another base is told', async () => {
    const server = await startModelServer()
    const files: Record<string, Uint8Array> = {
      'README.md': new Uint8Array(3),
      'optimizer.pt': new Uint8Array(9),
    }
    for (const name of [ADAPTER_CONFIG, ADAPTER_MODEL])
      files[name] = await readFile(join(adapter('one'), name))
    const model: Record<string, Uint8Array> = {}
    for (const name of ['config.json', 'model.safetensors', 'tokenizer.model']) {
      model[name] = await readFile(join(root, MODEL, name))
    }
    server.models.set('me/gemma-lora', { files, commit: 'c0ffee' })
    server.models.set('google/gemma-2b-it', { files: model, commit: 'c0ffee' })
    const env = { HF_ENDPOINT: server.endpoint, HF_HOME: join(scratch, 'hub'), HF_TOKEN: undefined }
    try {
      const args = ['generate', 'google/gemma-2b-it', '--adapter', 'me/gemma-lora']
      const { code, stdout, stderr } = await runCli([...args, ...ASK.slice(0, -1)], { env })
      expect(code).toBe(0)
      expect(stderr).toContain(
        'The adapter gemma-lora was trained on google/gemma-2b, not on google/gemma-2b-it.',
      )
      const wanted = await tokensOf(['generate', MODEL, ...ASK, '--adapter', adapter('one')])
      expect(JSON.parse(stdout).tokens).toEqual(wanted)
      expect(server.requests.filter(({ path }) => /README|optimizer/.test(path))).toEqual([])
    } finally {
      await server.close()
    }
  })
})

describe.concurrent('merging', () => {
  test('keeps the precision of the model, says how much changed; both containers agree', async () => {
    const directory = join(scratch, 'kept')
    const kept = await runCli(['convert', MODEL, directory, '--merge', adapter('two')])
    expect([kept.code, kept.stdout]).toEqual([0, ''])
    expect(kept.stderr).toContain('--dtype bf16, as the model is stored')
    expect(kept.stderr).toMatch(/merged the adapter into 4 weights, which changed by \d+(\.\d+)? % /)
    const gguf = join(scratch, 'both.gguf')
    const both = ['--merge', adapter('one'), '--merge', adapter('two')]
    const written = await runCli(['convert', MODEL, gguf, ...both, '--dtype', 'f32'])
    expect(written.stderr).toMatch(/merged 2 adapters into 14 weights/)
    expect(await tokensOf(['generate', gguf, ...ASK])).toEqual(
      await tokensOf(['generate', merged('merged-both'), ...ASK]),
    )
  })

  test('a quantised model is refused with what it would cost, until it is asked for', async () => {
    const gguf = join(scratch, 'q8.gguf')
    expect((await runCli(['convert', MODEL, gguf, '--dtype', 'int8', '-q'])).code).toBe(0)
    const args = [
      'convert',
      gguf,
      join(scratch, 'q8-merged.gguf'),
      '--merge',
      adapter('one'),
      '--dtype',
      'int8',
    ]
    const refused = await runCli(args)
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/quantised form \(14 in Q8_0\).*keep the rounding.*--merge-onto-quantised/)
    const done = await runCli([...args, '--merge-onto-quantised', '-q'])
    expect(done.code).toBe(0)
    expect(done.stderr).toMatch(
      /^Merging into 14 weights in Q8_0: each is decoded to float32, .* stays lost\.\n$/,
    )
    expect(await readdir(scratch)).toContain('q8-merged.gguf')
  })
})

describe.concurrent('mistakes', () => {
  test.for<[string, string[], number, RegExp]>([
    [
      'another model’s adapter',
      ['generate', MODEL, ...ASK, '--adapter', 'foreign'],
      1,
      /trained on another model/,
    ],
    ['an adapter as a model', ['generate', 'one', ...ASK], 1, /holds a LoRA adapter, not a model/],
    [
      'two where one answers',
      ['generate', MODEL, ...ASK, '--adapter', 'one', '--adapter', 'two'],
      2,
      /takes one adapter/,
    ],
    [
      'merging what is not named',
      ['convert', MODEL, 'x', '--dtype', 'f32', '--merge-onto-quantised'],
      2,
      /Give --merge/,
    ],
  ])('%s', async ([, args, code, message], { expect }) => {
    const known = args.map((arg) => (['one', 'two', 'foreign'].includes(arg) ? adapter(arg) : arg))
    const outcome = await runCli(known)
    expect(outcome.stderr).toMatch(message)
    expect([outcome.code, outcome.stdout]).toEqual([code, ''])
  })

  test('names of adapters', () => {
    expect(parseAdapter('./runs/first/')).toEqual([{ name: 'first', source: './runs/first/' }])
    expect(parseAdapter('me/gemma-lora@v1.2')).toEqual([{ name: 'gemma-lora', source: 'me/gemma-lora@v1.2' }])
    expect(parseAdapter('a=b=c')).toEqual([{ name: 'a', source: 'b=c' }])
    expect(parseAdapter('./x=y')).toEqual([{ name: 'x=y', source: './x=y' }])
    expect(() => parseAdapter('none=x')).toThrow()
    expect(() => parseAdapter('a=')).toThrow(/Expected a directory or an id/)
    expect(() => parseAdapter('')).toThrow(/Expected a directory or an id/)
    expect(() => parseAdapter('x/one', parseAdapter('one'))).toThrow(/Two adapters are called one/)
  })
})

describe.skipIf(!hasTerminal)('at a terminal (needs util-linux script)', () => {
  test('/adapter names, changes and refuses without ending the conversation', async () => {
    const { code, stdout } = await runAtTerminal(
      ['chat', MODEL, '-n', '2', '--adapter', adapter('one')],
      [
        { waitFor: '> ', type: '/adapter\n' },
        { waitFor: 'Answering with one, of: none, one.', type: '/adapter two\n' },
        { waitFor: 'There is no adapter "two"', type: '/adapter none\n' },
        { waitFor: 'Answering with no adapter', type: '/exit\n' },
      ],
    )
    expect(code).toBe(0)
    expect(stdout).toContain('There are: none, one.')
  })
})
