// Recipes: what is refused, with which words and at which line; what is filled in; single values set from outside.

import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { GemmaError } from '../error.ts'
import { parseConfig } from '../model/config.ts'
import { miniatureSizes } from '../model/configs.ts'
import { parameterCounts } from '../model/parameters.ts'
import { resolveRecipe } from './recipe-defaults.ts'
import { formatRecipe, readRecipe, writeRecipe } from './recipe-file.node.ts'
import { checkRecipe, keysAt, nearestOf } from './recipe-schema.ts'

let scratch: string
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gemma-recipe-'))
})
afterAll(() => rm(scratch, { recursive: true, force: true }))

const pretrain = `stage: pretrain
output: runs/nano
model:
  shape: nano
  tokenizer: tokenizer.model
data:
  sources:
    - files: web/*.jsonl
    - name: code
      files: [code.jsonl, more.jsonl]
      weight: 2
steps: 100
`

const sft = `stage: sft
output: runs/sft
model:
  from: google/gemma-2b
data:
  sources:
    - files: chats.jsonl
epochs: 2
`

/** What reading a recipe of this text says. */
async function said(text: string, set: readonly string[] = []): Promise<string> {
  const path = join(scratch, 'recipe.yaml')
  await writeFile(path, text)
  const error = await readRecipe(path, set).then(
    () => undefined,
    (cause: unknown) => cause,
  )
  expect(error).toBeInstanceOf(GemmaError)
  return (error as GemmaError).message.replaceAll(path, 'R')
}

async function read(text: string, set: readonly string[] = []): ReturnType<typeof readRecipe> {
  const path = join(scratch, 'good.yaml')
  await writeFile(path, text)
  return readRecipe(path, set)
}

describe('what is wrong is named with its line', () => {
  const withLine = (line: string): string => `${pretrain}${line}\n`
  test.each([
    [
      'unknown key',
      withLine('learning_rate: 1'),
      'R:13: learning_rate is no key. Did you mean learningRate?',
    ],
    ['unknown, like none', withLine('zebra: 1'), /^R:13: zebra is no key\. Known here: stage, seed, output/],
    [
      'nested unknown key',
      pretrain.replace('weight: 2', 'wieght: 2'),
      'R:11: data.sources[1].wieght is no key. Did you mean weight?',
    ],
    ['kind of value', withLine('clip: high'), 'R:13: clip is "high", expected a number above 0.'],
    [
      'out of bounds',
      withLine('batch: {rowsPerRun: 100000}'),
      'R:13: batch.rowsPerRun is 100000, expected a whole number from 1 to 4096.',
    ],
    ['not a number', withLine('learningRate: .nan'), 'R:13: learningRate is NaN, expected a number above 0.'],
    ['missing', pretrain.replace('output: runs/nano\n', ''), 'R:1: output is missing, expected a text.'],
    [
      'missing in a group',
      pretrain.replace('    - files: web/*.jsonl\n', '    - name: web\n'),
      'R:8: data.sources[0].files is missing, expected a path or a list of paths.',
    ],
    [
      'inside a list',
      pretrain.replace('[code.jsonl, more.jsonl]', '[code.jsonl, 7]'),
      'R:10: data.sources[1].files[1] is 7, expected a text.',
    ],
    [
      'a column that no record has',
      pretrain.replace('weight: 2', 'columns: {txt: body}'),
      'R:11: data.sources[1].columns.txt is no key. Did you mean text?',
    ],
    [
      'either of two kinds',
      pretrain.replace('shape: nano', 'shape: nano\n  initializerRange: -1'),
      'R:5: model.initializerRange is -1, expected fan-in or a number above 0, at most 10.',
    ],
    ['choice', withLine('saveDtype: f16'), 'R:13: saveDtype is "f16", expected one of f32, bf16.'],
    [
      'lora target',
      `${sft}lora:\n  targets: [q_proj, x_proj]\n`,
      'R:10: lora.targets[1] is "x_proj", expected one of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj.',
    ],
    ['no group at all', 'just a text', 'R:1: it is "just a text", expected keys and values.'],
    ['empty', '', 'R: it is null, expected keys and values.'],
    ['no YAML', 'stage: [pretrain', /^R:1:17: no valid YAML: .*/],
    ['twice the same key', withLine('steps: 7'), /^R:13:1: no valid YAML: .*unique/],
  ])('%s', async (_, text, expected) => {
    const message = await said(text)
    if (typeof expected === 'string') expect(message).toBe(expected)
    else expect(message).toMatch(expected)
  })

  test('several at once, at most five', async () => {
    const keys = Array.from({ length: 7 }, (_, i) => `wrong${i}: 1`).join('\n')
    const lines = (await said(withLine(keys))).split('\n')
    expect(lines.length).toBe(6)
    expect(lines[4]).toMatch(/^R:17: wrong4 is no key/)
    expect(lines[5]).toBe('(2 more)')
  })
})

test('a misspelled key that is needed is told once, by what was written', async () => {
  const wrong = pretrain.replace('output:', 'outptu:').replace('files:', 'file:')
  expect((await said(wrong)).split('\n')).toEqual([
    expect.stringMatching(/data\.sources\[0\]\.file is no key\. Did you mean files\?$/),
    expect.stringMatching(/outptu is no key\. Did you mean output\?$/),
  ])
})

describe('contradictions', () => {
  test.each([
    ['no model', pretrain.replace('  shape: nano\n', ''), /^R:3: model names no model; expected exactly one/],
    ['two models', pretrain.replace('shape: nano', 'shape: nano\n  from: x/y'), /model has from and shape/],
    [
      'no tokenizer',
      pretrain.replace('  tokenizer: tokenizer.model\n', ''),
      /^R:3: model\.tokenizer is missing; a new model needs one\./,
    ],
    ['length twice', `${pretrain}epochs: 1\n`, /^R:13: Both steps and epochs are given/],
    ['no length', pretrain.replace('steps: 100\n', ''), /Nothing says how long to train/],
    [
      'tokens with documents',
      `${sft.replace('epochs: 2', 'tokens: 100000')}batch: {documents: 4}\n`,
      /^R:8: tokens cannot be counted in steps/,
    ],
    [
      'no multiple',
      `${pretrain}batch:\n  tokensPerBatch: 1000\n  rowsPerRun: 256\n`,
      'R:14: batch.tokensPerBatch is 1000, expected a multiple of batch.rowsPerRun (256). 1024 is one.',
    ],
    ['no default divides', `${pretrain}batch:\n  tokensPerBatch: 257\ncontextLength: 256\n`, ''],
    [
      'batch twice',
      `${pretrain}batch: {tokensPerBatch: 1024, documents: 3}\n`,
      /^R:13: batch has tokensPerBatch and/,
    ],
    [
      'rows below the context',
      `${pretrain}batch: {rowsPerRun: 128, tokensPerBatch: 1024}\ncontextLength: 256\n`,
      /^R:13: batch\.rowsPerRun is 128, expected at least contextLength \(256\)/,
    ],
    [
      "the other optimiser's key",
      `${pretrain}optimizer:\n  name: adafactor\n  beta1: 0.9\n`,
      'R:15: optimizer.beta1 means nothing to adafactor. Its keys are name, decayRate, epsilon, clipThreshold, weightDecay.',
    ],
    ['warm-up of part of a step', `${pretrain}schedule: {warmup: 1.5}\n`, /^R:13: schedule\.warmup is 1\.5/],
    [
      'constant that falls',
      `${pretrain}schedule: {name: constant, finalFraction: 0.1}\n`,
      /contradicts the constant schedule/,
    ],
    ['lora without base', `${pretrain}lora: {}\n`, /^R:13: lora adapts a model that has learnt/],
    [
      'baseDtype without lora',
      `${sft}baseDtype: int4\n`,
      /^R:9: baseDtype is int4, but without lora all weights learn/,
    ],
    ['narrow adapters', `${sft}lora: {}\nsaveDtype: bf16\n`, /^R:10: saveDtype is bf16, but adapters/],
    [
      'first weights of a base',
      sft.replace('from: google/gemma-2b', 'from: a/b\n  initializerRange: 0.1'),
      /^R:5: /,
    ],
    [
      'evaluation of nothing',
      `${pretrain.replace('data:', 'data:\n  evaluateEvery: 5')}`,
      /^R:7: data\.evaluateEvery is given, but there are no data\.heldOut/,
    ],
    ['best without a measure', `${pretrain}saveWeights: best\n`, /^R:13: saveWeights is best, but without/],
    [
      'weights of what is not measured',
      pretrain.replace('data:', 'data:\n  heldOut: [{files: h.jsonl, epochs: 2}]'),
      /^R:7: data\.heldOut\[0\]\.epochs means nothing/,
    ],
    [
      'sources of one name',
      pretrain.replace('name: code', 'name: source-1'),
      /data\.sources has two sources named source-1/,
    ],
    [
      'stage of no source',
      pretrain.replace('data:', 'data:\n  stages: [{until: 1, weights: {prose: 1}}]'),
      'R:7: data.stages[0].weights names "prose", which is no source. Sources: source-1, code.',
    ],
    [
      'no weight',
      `${pretrain.replace('weight: 2', 'weight: 0').replace('web/*.jsonl', 'a\n      weight: 0')}`,
      /all 0/,
    ],
    [
      'stages backwards',
      pretrain.replace(
        'data:',
        'data:\n  stages: [{until: 0.8, weights: {code: 1}}, {until: 0.5, weights: {code: 1}}]',
      ),
      /data\.stages\[1\]\.until is 0\.5, expected more than the stage before \(0\.8\)/,
    ],
    [
      'stages that stop short',
      pretrain.replace('data:', 'data:\n  stages: [{until: 0.8, weights: {code: 1}}]'),
      /The last of data\.stages ends at 0\.8, expected 1/,
    ],
    [
      'stage of nothing',
      pretrain.replace('data:', 'data:\n  stages: [{until: 1, weights: {code: 0}}]'),
      /data\.stages\[0\]\.weights are all 0/,
    ],
  ])('%s', async (_, text, expected) => {
    if (expected === '') {
      // 257 is prime and larger than the context: one run is one batch.
      expect((await read(text)).recipe.batch).toEqual({ tokensPerBatch: 257, rowsPerRun: 257 })
      return
    }
    const message = await said(text)
    if (typeof expected === 'string') expect(message).toBe(expected)
    else expect(message).toMatch(expected)
  })

  test('a batch that no default fits is refused with what to change', async () => {
    const message = await said(`${pretrain}batch: {tokensPerBatch: 4099}\n`)
    expect(message).toMatch(/batch\.tokensPerBatch is 4099, expected a multiple of batch\.rowsPerRun \(256\)/)
  })
})

describe('defaults', () => {
  test('pre-training a named shape', async () => {
    const { recipe } = await read(pretrain)
    expect(recipe).toEqual({
      stage: 'pretrain',
      seed: 0,
      output: 'runs/nano',
      model: { shape: 'nano', tokenizer: 'tokenizer.model', initializerRange: 'fan-in' },
      data: {
        sources: [
          { name: 'source-1', files: ['web/*.jsonl'], weight: 1 },
          { name: 'code', files: ['code.jsonl', 'more.jsonl'], weight: 2 },
        ],
        packing: true,
        shuffleWindow: 10_000,
        endOfText: true,
        maxBadRecords: 100,
        maxBadShare: 0.1,
      },
      batch: { tokensPerBatch: 8192, rowsPerRun: 2048 },
      contextLength: 256,
      steps: 100,
      optimizer: { name: 'adamw', beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 },
      learningRate: 3e-3,
      schedule: { name: 'cosine', warmup: 0.02, finalFraction: 0.1 },
      clip: 1,
      checkpoint: { everyMinutes: 10, keep: 2 },
      saveDtype: 'f32',
      saveWeights: 'last',
      device: 'auto',
      threads: 'auto',
      checkpointing: 'auto',
    })
  })

  test('fine-tuning with adapters', async () => {
    const heldOut = '  heldOut: [{files: held-out.jsonl}]\n'
    const { recipe } = await read(`${sft.replace('epochs', `${heldOut}epochs`)}lora: {rank: 8}\n`)
    expect(recipe.lora).toEqual({
      rank: 8,
      alpha: 16,
      dropout: 0,
      rsLora: false,
      targets: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
    })
    expect([recipe.baseDtype, recipe.learningRate, recipe.contextLength]).toEqual(['auto', 2e-4, 1024])
    expect(recipe.batch).toEqual({ documents: 32, rowsPerRun: 1024 })
    expect(recipe.optimizer).toMatchObject({ beta2: 0.999, weightDecay: 0 })
    expect(recipe.data).toMatchObject({ evaluateEvery: 100, evaluateTokens: 100_000 })
    expect(recipe.data.sources[0]!.epochs).toBe(2)
    expect(recipe.data.heldOut).toEqual([{ name: 'source-1', files: ['held-out.jsonl'] }])
  })

  test('the filled recipe is a recipe, and stays what it is', async () => {
    for (const text of [pretrain, sft, `${sft}lora: {}\noptimizer: {name: adafactor}\n`]) {
      const { recipe, written } = await read(text)
      expect(resolveRecipe(recipe)).toEqual(recipe)
      expect(resolveRecipe(parse(formatRecipe(recipe, written)))).toEqual(recipe)
    }
  })

  test('written with its defaults marked', async () => {
    const { recipe, written } = await read(pretrain)
    const path = join(scratch, 'recipe.resolved.yaml')
    await writeRecipe(path, formatRecipe(recipe, written))
    const text = await readFile(path, 'utf8')
    expect(text).toMatch(/^# The recipe of this run/)
    expect(text).toContain('\nstage: pretrain\nseed: 0 # default\noutput: runs/nano\n')
    expect(text).toContain('      files: [ code.jsonl, more.jsonl ]\n      weight: 2\n')
    expect(text).toContain(
      '    - name: source-1 # default\n      files: [ web/*.jsonl ]\n      weight: 1 # default\n',
    )
    expect(text).toContain('  beta2: 0.95 # default\n')
    expect((await readRecipe(path)).recipe).toEqual(recipe)
  })

  test('the named shapes have the sizes they are said to have', () => {
    const counts = miniatureSizes.map(({ config }) => parameterCounts(parseConfig(config)))
    expect(counts.map(({ total, nonEmbedding }) => [total, nonEmbedding])).toEqual([
      [303_680, 238_144],
      [1_213_568, 951_424],
      [6_655_232, 5_606_656],
    ])
  })
})

describe('values set from outside', () => {
  test('replace, add and reach into lists', async () => {
    const set = [
      'seed=7',
      'batch.tokensPerBatch=4096',
      'data.sources.1.files=[a.txt]',
      'schedule={name: linear}',
    ]
    const { recipe } = await read(pretrain, set)
    expect(recipe.seed).toBe(7)
    expect(recipe.batch.tokensPerBatch).toBe(4096)
    expect(recipe.data.sources[1]!.files).toEqual(['a.txt'])
    expect(recipe.schedule.name).toBe('linear')
  })

  test('take a key away', async () => {
    const { recipe } = await read(pretrain, ['steps=', 'tokens=1e6', 'schedule='])
    expect([recipe.steps, recipe.tokens]).toEqual([undefined, 1_000_000])
  })

  test.each([
    ['seed', /^--set seed: expected key=value/],
    ['a..b=1', /^--set a\.\.b=1: expected key=value/],
    ['seed=[', /^--set seed=\[: the value is no valid YAML/],
    ['stage.x=1', /^--set stage\.x=1: stage holds no keys/],
    ['sed=1', /^--set sed: sed is no key\. Did you mean seed\?$/],
    ['clip=-1', /^--set clip: clip is -1, expected a number above 0\.$/],
  ])('%s is refused', async (change, expected) => {
    expect(await said(pretrain, [change])).toMatch(expected)
  })
})

describe('hostile files', () => {
  test('missing, directory, huge, binary', async () => {
    await expect(readRecipe(join(scratch, 'nowhere.yaml'))).rejects.toMatchObject({ code: 'file' })
    await expect(readRecipe(scratch)).rejects.toMatchObject({ code: 'file' })
    const huge = join(scratch, 'huge.yaml')
    await writeFile(huge, 'a: '.padEnd(1_100_000, 'x'))
    await expect(readRecipe(huge)).rejects.toMatchObject({ code: 'recipe' })
    const binary = join(scratch, 'binary.yaml')
    await writeFile(binary, Uint8Array.from([0xff, 0xfe, 0x00, 0x80]))
    await expect(readRecipe(binary)).rejects.toMatchObject({ code: 'recipe' })
  })

  test('aliases that unfold to billions', async () => {
    const levels = Array.from({ length: 12 }, (_, i) =>
      i === 0
        ? 'a0: &a0 [x]'
        : `a${i}: &a${i} [${Array.from({ length: 10 }, () => `*a${i - 1}`).join(', ')}]`,
    )
    expect(await said(levels.join('\n'))).toMatch(/alias/i)
  })

  test('prototypes are not reached', async () => {
    expect(await said(`${pretrain}__proto__: {clip: 5}\n`)).toMatch(/__proto__ is no key/)
    expect(await said(`${pretrain}constructor: 1\n`)).toMatch(/constructor is no key/)
  })

  test('any value is either a recipe or has faults with words', () => {
    fc.assert(
      fc.property(fc.anything({ withNullPrototype: true, maxDepth: 3 }), (value) => {
        const checked = checkRecipe(value)
        expect('faults' in checked && checked.faults.length > 0).toBe(true)
      }),
    )
    const keys = ['stage', 'seed', 'model', 'data', 'batch', 'lora', 'optimizer', 'threads', 'checkpoint']
    const value = fc.oneof(
      fc.anything(),
      fc.dictionary(fc.constantFrom('from', 'sources', 'name'), fc.anything()),
    )
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...keys), value), (recipe) => {
        const checked = checkRecipe(recipe)
        if (!('faults' in checked)) throw new Error('nothing here has an output')
        for (const { message } of checked.faults) expect(message).toMatch(/\S+\.$/)
      }),
    )
  })
})

describe('examples/recipes', () => {
  const folder = fileURLToPath(new URL('../../examples/recipes', import.meta.url))

  test('every recipe is sound', async () => {
    const names = (await readdir(folder)).filter((name) => name.endsWith('.yaml'))
    expect(names.length).toBeGreaterThan(2)
    for (const name of names) await readRecipe(join(folder, name))
  })

  test('the README tells of every key', async () => {
    const text = await readFile(join(folder, 'README.md'), 'utf8')
    const cells = [...text.matchAll(/^\| (`.*?) \|/gm)].map((match) => match[1]!)
    // `optimizer.beta1`, `.beta2` stands for `optimizer.beta2` too.
    const told = cells.flatMap((cell) => {
      const keys = [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1]!)
      const group = keys[0]!.slice(0, keys[0]!.lastIndexOf('.'))
      return keys.map((key) => (key.startsWith('.') ? group + key : key))
    })
    const groups = ['model', 'data', 'batch', 'optimizer', 'schedule', 'lora', 'checkpoint']
    const keys = keysAt([]).filter((key) => !groups.includes(key) || key === 'lora')
    keys.push(...groups.flatMap((group) => keysAt([group]).map((key) => `${group}.${key}`)))
    keys.push(...keysAt(['data', 'sources', 0]).map((key) => `data.sources[].${key}`))
    for (const key of keys.filter((name) => name !== 'data.sources' && name !== 'optimizer')) {
      expect(told, key).toContain(key)
    }
  })
})

test('the nearest key', () => {
  const known = ['learningRate', 'schedule', 'clip', 'tokensPerBatch']
  expect(nearestOf('learning_rate', known)).toBe('learningRate')
  expect(nearestOf('LR', known)).toBe(undefined)
  expect(nearestOf('tokenPerBatch', known)).toBe('tokensPerBatch')
  expect(nearestOf('x'.repeat(1e6), known)).toBe(undefined)
})
