import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { modelPath } from '../../test/goldens.ts'
import { GemmaError } from '../error.ts'
import type { ModelConfig } from '../model/config.ts'
import { bytesSource } from './bytes-source.ts'
import type { StoredAdapter } from './checkpoint.ts'
import { readFloats } from './encodings.ts'
import { openAdapter, writeAdapter } from './peft.node.ts'
import { ADAPTER_CONFIG, ADAPTER_MODEL, adapterConfig, readPeft } from './peft.ts'
import { readSafetensors } from './safetensors.ts'
import { openFile } from './source.node.ts'
import { configIn, type TestAdapter, testMatrices, writeTestAdapter } from './testing/adapter-files.ts'

const root = mkdtempSync(join(tmpdir(), 'gemma-peft-'))
let directory = ''
let number = 0
beforeEach(() => {
  directory = join(root, String(number++))
})
afterAll(() => rmSync(root, { recursive: true }))

const model: ModelConfig = await configIn(modelPath('gemma1-mqa'))
const QUERY = 'model.layers.0.self_attn.q_proj.weight'
const A = 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight'

async function opened(options: TestAdapter): Promise<StoredAdapter> {
  await writeTestAdapter(directory, model, options)
  return openAdapter(directory)
}

/** Code and message of what opening, and then reading everything, is refused with. */
async function refusal(work: () => Promise<StoredAdapter>): Promise<string> {
  try {
    const adapter = await work()
    try {
      for (const { down, up } of adapter.layers.values()) {
        await readFloats(down)
        await readFloats(up)
      }
    } finally {
      await adapter.close()
    }
  } catch (error) {
    if (error instanceof GemmaError) return `${error.code}: ${error.message}`
    throw error
  }
  return 'nothing was refused'
}

describe('writing', () => {
  const settings = { rank: 4, alpha: 16, dropout: 0.1, rsLora: false, targets: ['q_proj', 'v_proj'] }
  const matrices = testMatrices(model, { targets: settings.targets })
  const tensors = matrices.map(({ name, shape, values }) => ({ name, shape, values: () => values }))

  test('what is written is in the form of PEFT, and is read back as it was', async () => {
    await writeAdapter(directory, { settings, baseName: 'google/gemma-2b', tensors })
    expect(readdirSync(directory).sort()).toEqual([ADAPTER_CONFIG, ADAPTER_MODEL])
    expect(JSON.parse(readFileSync(join(directory, ADAPTER_CONFIG), 'utf8'))).toMatchObject({
      peft_type: 'LORA',
      task_type: 'CAUSAL_LM',
      base_model_name_or_path: 'google/gemma-2b',
      r: 4,
      lora_alpha: 16,
      lora_dropout: 0.1,
      use_rslora: false,
      use_dora: false,
      target_modules: ['q_proj', 'v_proj'],
      bias: 'none',
      fan_in_fan_out: false,
      modules_to_save: null,
      rank_pattern: {},
      alpha_pattern: {},
      init_lora_weights: true,
    })
    const source = await openFile(join(directory, ADAPTER_MODEL))
    const { entries, metadata } = await readSafetensors(source)
    await source.close()
    expect([...entries.keys()].sort()).toEqual(matrices.map(({ name }) => name).sort())
    expect(entries.get(A)).toMatchObject({ dtype: 'F32', shape: [4, 96] })
    expect(metadata).toEqual({ format: 'pt' })

    const adapter = await openAdapter(directory)
    expect(adapter).toMatchObject({ baseName: 'google/gemma-2b', everywhere: ['q_proj', 'v_proj'] })
    expect(adapter.layers.size).toBe(2 * model.numHiddenLayers)
    const { down, up, scale } = adapter.layers.get(QUERY)!
    expect(scale).toBe(4)
    expect(await readFloats(down)).toEqual(matrices[0]!.values)
    expect(await readFloats(up)).toEqual(matrices[1]!.values)
    await adapter.close()
  })

  test('a matrix larger than one piece comes back whole', async () => {
    const shape = [3, 900_000]
    const values = Float32Array.from({ length: 2_700_000 }, (_, i) => i)
    const name = 'base_model.model.model.layers.0.mlp.up_proj.lora_A.weight'
    await writeAdapter(directory, {
      settings,
      baseName: 'b',
      tensors: [{ name, shape, values: () => values }],
    })
    const source = await openFile(join(directory, ADAPTER_MODEL))
    const entry = (await readSafetensors(source)).entries.get(name)!
    const bytes = new Uint8Array(entry.bytes)
    await source.read(entry.offset, bytes)
    await source.close()
    expect(new Float32Array(bytes.buffer)).toEqual(values)
  })

  test('what fails leaves nothing, and a directory in use is left alone', async () => {
    const options = { settings, baseName: 'b', tensors }
    const failing = { ...tensors[3]!, values: () => Promise.reject(new Error('no values')) }
    await expect(
      writeAdapter(directory, { ...options, tensors: [...tensors.slice(0, 3), failing] }),
    ).rejects.toThrow('no values')
    const short = { ...tensors[0]!, values: () => new Float32Array(5) }
    await expect(writeAdapter(directory, { ...options, tensors: [short] })).rejects.toThrow(/has 5 values/)
    const signal = AbortSignal.abort()
    await expect(writeAdapter(directory, { ...options, signal })).rejects.toMatchObject({ code: 'aborted' })
    expect(readdirSync(root).filter((name) => name.includes('tmp'))).toEqual([])
    expect(readdirSync(root)).not.toContain(directory.split('/').at(-1))

    await writeAdapter(directory, options)
    const before = readFileSync(join(directory, ADAPTER_MODEL))
    await expect(writeAdapter(directory, options)).rejects.toThrow(/is not empty/)
    expect(readFileSync(join(directory, ADAPTER_MODEL))).toEqual(before)
  })
})

describe('reading', () => {
  test.each([
    ['F16', 2 ** -10],
    ['BF16', 2 ** -7],
  ] as const)('%s', async (type, precision) => {
    const adapter = await opened({ type, seed: 3 })
    const { down } = adapter.layers.get(QUERY)!
    const wanted = testMatrices(model, { seed: 3 })[0]!.values
    const values = await readFloats(down)
    expect(values).not.toEqual(wanted)
    wanted.forEach((value, i) => {
      expect(Math.abs(values[i]! - value)).toBeLessThanOrEqual(Math.abs(value) * precision)
    })
    await adapter.close()
  })

  test('patterns of rank and alpha, with the root of the rank and without', async () => {
    // The ranks of the file are as the pattern says: two layers of other ranks.
    const ranks: [RegExp, number][] = [
      [/layers\.0\.self_attn\.q_proj/, 2],
      [/down_proj/, 6],
    ]
    const change: TestAdapter['change'] = ({ name, shape }) => {
      const rank = ranks.find(([pattern]) => pattern.test(name))?.[1] ?? 4
      const own = name.includes('lora_A') ? [rank, shape[1]!] : [shape[0]!, rank]
      return { name, shape: own, values: new Float32Array(own[0]! * own[1]!).fill(0.5) }
    }
    const rank_pattern = { 'model.layers.0.self_attn.q_proj': 2, 'mlp.down_proj': 6 }
    const alpha_pattern = {
      'layers\\.\\d+\\.mlp\\.(up|gate)_proj': 12,
      '^model.layers.1.self_attn.*': 20,
      v_proj: 3,
    }
    for (const rsLora of [false, true]) {
      const adapter = await opened({ change, rsLora, config: { rank_pattern, alpha_pattern } })
      const scaleOf = (name: string): number => adapter.layers.get(`model.layers.${name}.weight`)!.scale
      const by = (rank: number): number => (rsLora ? Math.sqrt(rank) : rank)
      expect(scaleOf('0.self_attn.q_proj')).toBe(8 / by(2))
      expect(scaleOf('1.mlp.down_proj')).toBe(8 / by(6))
      expect(scaleOf('0.mlp.up_proj')).toBe(12 / by(4))
      expect(scaleOf('1.mlp.gate_proj')).toBe(12 / by(4))
      expect(scaleOf('0.self_attn.v_proj')).toBe(3 / by(4))
      // Two entries fit: the first counts.
      expect(scaleOf('1.self_attn.v_proj')).toBe(20 / by(4))
      expect(scaleOf('0.self_attn.o_proj')).toBe(8 / by(4))
      await adapter.close()
      rmSync(directory, { recursive: true })
    }
  })

  test('what other versions of PEFT, and other trainers, put into the configuration', async () => {
    const config = {
      peft_version: '0.18.0',
      loftq_config: {},
      corda_config: null,
      eva_config: { rho: 2 },
      megatron_core: 'megatron.core',
      qalora_group_size: 16,
      ensure_weight_tying: false,
      init_lora_weights: 'gaussian',
      target_modules:
        '(?:.*?(?:language|text).*?(?:q_proj|k_proj).*?)|(?:\\bmodel\\.layers\\.[\\d]{1,}\\..*)',
      modules_to_save: [],
      task_type: null,
      something_new: { nobody: 'knows' },
    }
    const adapter = await opened({ config })
    expect(adapter.layers.size).toBe(7 * model.numHiddenLayers)
    // Chosen by an expression: nothing is claimed about every layer.
    expect(adapter.everywhere).toEqual([])
    await adapter.close()
  })

  test('the names of multimodal Gemma 3, before and after they were changed; its vision tower is left out', async () => {
    for (const prefix of ['model.language_model.', 'language_model.model.']) {
      const adapter = await opened({
        targets: ['q_proj'],
        change: ({ name, ...rest }) => ({
          name: name.includes('layers.1.')
            ? name.replace('.model.layers', '.model.vision_tower.vision_model.encoder.layers')
            : name.replace('.model.layers', `.${prefix}layers`),
          ...rest,
        }),
      })
      expect([...adapter.layers.keys()]).toEqual([QUERY])
      await adapter.close()
      rmSync(directory, { recursive: true })
    }
  })
})

describe('refused', () => {
  test.each([
    [{ peft_type: 'ADALORA' }, /^unsupported: .*the kind ADALORA.*Expected peft_type LORA/],
    [{ peft_type: undefined }, /^file: .*has no peft_type/],
    [{ task_type: 'SEQ_CLS' }, /^unsupported: .*the task "SEQ_CLS"/],
    [{ use_dora: true }, /^unsupported: .*DoRA/],
    [{ use_qalora: true }, /^unsupported: .*QALoRA/],
    [{ lora_bias: true }, /^unsupported: .*biases of its own \(lora_bias\)/],
    [{ bias: 'all' }, /^unsupported: .*bias "all"/],
    [{ modules_to_save: ['lm_head'] }, /^unsupported: .*whole modules \(modules_to_save\)/],
    [{ layer_replication: [[0, 2]] }, /^unsupported: .*replicated layers/],
    [{ trainable_token_indices: [5] }, /^unsupported: .*rows of the embedding/],
    [{ target_parameters: ['w'] }, /^unsupported: .*bare parameters/],
    [{ alora_invocation_tokens: [1, 2] }, /^unsupported: .*aLoRA/],
    [{ arrow_config: { top_k: 2 } }, /^unsupported: .*Arrow/],
    [{ fan_in_fan_out: true }, /^unsupported: .*transposed/],
    [{ init_lora_weights: 'pissa_niter_4' }, /^unsupported: .*path_initial_model_for_weight_conversion/],
    [{ init_lora_weights: 'olora' }, /^unsupported: .*changed before training/],
    [{ r: 8 }, /^file: .*has rank 4, but the configuration says 8/],
    [{ r: 0 }, /^file: .*r is 0, expected a whole number from 1/],
    [{ r: '4' }, /^file: .*r is "4"/],
    [{ lora_alpha: null }, /^file: .*lora_alpha is null, expected a number/],
    [{ rank_pattern: { v_proj: -1 } }, /^file: .*rank_pattern\["v_proj"\] is -1/],
    [{ rank_pattern: [4] }, /^file: .*rank_pattern is no JSON object/],
    [{ alpha_pattern: { 'q_proj|(v_proj': 1 } }, /^unsupported: .*regular expression "q_proj\|\(v_proj"/],
    [{ alpha_pattern: { '(a+)+$': 1 } }, /^unsupported: .*regular expression/],
    [{ alpha_pattern: { '.*.*.*x': 1 } }, /^unsupported: .*regular expression/],
    [
      { alpha_pattern: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`.*\\.q${i}_proj`, 1])) },
      /^unsupported: .*40 regular expressions/,
    ],
  ] as [Record<string, unknown>, RegExp][])('%o', async (config, message) => {
    expect(await refusal(() => opened({ config }))).toMatch(message)
  })

  const rename = (pattern: RegExp, to: string): TestAdapter['change'] => {
    return ({ name, ...rest }) => ({ name: name.replace(pattern, to), ...rest })
  }
  test.each([
    [
      'DoRA’s magnitudes',
      rename(/lora_A\.weight/, 'lora_magnitude_vector'),
      /^unsupported: .*DoRA \(base_model.*magnitude/,
    ],
    [
      'an embedding’s adapter',
      rename(/layers\.0\.self_attn\.q_proj\.lora_A\.weight/, 'embed_tokens.lora_embedding_A'),
      /^unsupported: .*adapter of the embedding/,
    ],
    [
      'the head’s adapter',
      rename(/model\.layers\.0\.self_attn\.q_proj/, 'lm_head'),
      /^unsupported: .*adapter of the embedding/,
    ],
    [
      'a whole embedding',
      rename(/layers\.0\.self_attn\.q_proj\.lora_A/, 'embed_tokens'),
      /^unsupported: .*a trained embedding/,
    ],
    [
      'biases',
      rename(/0\.self_attn\.q_proj\.lora_A\.weight/, '0.self_attn.q_proj.bias'),
      /^unsupported: .*biases/,
    ],
    [
      'layers of another kind of model',
      rename(/self_attn\.q_proj/, 'attention.query'),
      /^config: .*no linear layer of a Gemma/,
    ],
    ['a norm', rename(/0\.self_attn\.q_proj/, '0.input_layernorm'), /^config: .*no linear layer of a Gemma/],
    [
      'names without the prefix of PEFT',
      rename(/^base_model\.model\./, ''),
      /^config: .*Expected names such as/,
    ],
    [
      'a half that is not there',
      ((matrix) =>
        matrix.name.includes('0.mlp.up_proj.lora_B') ? undefined : matrix) as TestAdapter['change'],
      /^file: .*layers\.0\.mlp\.up_proj has lora_A but no lora_B/,
    ],
    ['nothing at all', () => undefined, /^file: .*holds no lora_A and lora_B/],
    [
      'a target of which there is nothing',
      ((matrix) => (matrix.name.includes('v_proj') ? undefined : matrix)) as TestAdapter['change'],
      /^file: .*names the target v_proj, but the file holds nothing for it/,
    ],
    [
      'halves of two ranks',
      (({ name, shape, values }) =>
        name.endsWith('lora_B.weight')
          ? { name, shape: [shape[0]! * 2, shape[1]! / 2], values }
          : { name, shape, values }) as TestAdapter['change'],
      /^file: .*lora_A \[4, 96\] and lora_B \[192, 2\], which do not fit together/,
    ],
    [
      'two names for one weight',
      rename(/model\.layers\.1\./, 'language_model.model.layers.0.'),
      /^file: .*stand for the same weight/,
    ],
  ] as [string, TestAdapter['change'], RegExp][])('%s', async (_, change, message) => {
    expect(await refusal(() => opened({ change }))).toMatch(message)
  })

  test.each(['F32', 'F16', 'BF16'] as const)('values that are no numbers, in %s', async (type) => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const change: TestAdapter['change'] = (matrix) => {
        if (matrix.name.endsWith('0.mlp.down_proj.lora_B.weight')) matrix.values[4 * 7 + 3] = value
        return matrix
      }
      expect(await refusal(() => opened({ type, change }))).toMatch(
        /^file: .*down_proj\.lora_B\.weight holds NaN or infinity in row 7\..*diverged/,
      )
      rmSync(directory, { recursive: true })
    }
    // The largest finite values are numbers.
    const largest = { F32: 3.4e38, F16: 65_504, BF16: 3.3e38 }[type]
    const change: TestAdapter['change'] = (matrix) => ({ ...matrix, values: matrix.values.fill(-largest) })
    expect(await refusal(() => opened({ type, change }))).toBe('nothing was refused')
  })

  test('what is no directory of an adapter, each with what to do', async () => {
    const open = (path: string): Promise<string> => refusal(() => openAdapter(path))
    expect(await open(join(root, 'nowhere'))).toMatch(/^file: .*does not exist/)
    expect(await open(modelPath('gemma1-mqa'))).toMatch(/^file: .*is no adapter.*looks like a model/)
    expect(await open(join(modelPath('gemma1-mqa'), 'config.json'))).toMatch(/^file: .*is a file, not the/)
    await mkdir(directory)
    expect(await open(directory)).toMatch(/no adapter_config\.json and no adapter_model\.safetensors/)
    writeFileSync(join(directory, ADAPTER_CONFIG), '{}')
    writeFileSync(join(directory, 'adapter_model.bin'), '')
    expect(await open(directory)).toMatch(/^unsupported: .*adapter_model\.bin.*safe_serialization/)
    writeFileSync(join(directory, ADAPTER_MODEL), 'not this')
    expect(await open(directory)).toMatch(/^file: .*has no peft_type/)
    writeFileSync(join(directory, ADAPTER_CONFIG), JSON.stringify({ peft_type: 'LORA', r: 4, lora_alpha: 8 }))
    expect(await open(directory)).toMatch(/^file: .*not a sound safetensors file/)
    writeFileSync(join(directory, ADAPTER_CONFIG), '{"peft_type": ')
    expect(await open(directory)).toMatch(/^file: .*is not valid JSON/)
  })
})

describe('damaged', () => {
  const settings = { rank: 4, alpha: 8, dropout: 0, rsLora: false, targets: ['q_proj', 'up_proj'] }

  test('bytes of the matrices: read or refused, never more than the file holds', async () => {
    await writeTestAdapter(directory, model, { targets: settings.targets })
    const whole = new Uint8Array(readFileSync(join(directory, ADAPTER_MODEL)))
    const header = 8 + Number(new DataView(whole.buffer, whole.byteOffset).getBigUint64(0, true))
    const outcomes = new Map<string, number>()
    await fc.assert(
      fc.asyncProperty(fc.nat(header), fc.nat(255), fc.nat(3), async (at, value, kind) => {
        const bytes = kind === 0 ? whole.slice(0, at) : whole.slice()
        if (kind > 0 && at < bytes.length) bytes[at] = value
        const outcome = await refusal(() =>
          readPeft(adapterConfig(settings, 'b'), bytesSource('damaged', bytes), 'damaged'),
        )
        const code = outcome.split(':')[0]!
        outcomes.set(code, (outcomes.get(code) ?? 0) + 1)
      }),
      { numRuns: 1500 },
    )
    expect(outcomes.get('file')).toBeGreaterThan(300)
  })

  test('any JSON as configuration: read or refused, at once', async () => {
    await writeTestAdapter(directory, model, { targets: settings.targets })
    const bytes = new Uint8Array(readFileSync(join(directory, ADAPTER_MODEL)))
    const keys = Object.keys(adapterConfig(settings, 'b'))
    const pattern = fc.dictionary(
      fc.oneof(fc.string(), fc.stringMatching(/^[a-z.*+()|\\d^$]{1,30}$/)),
      fc.oneof(fc.integer(), fc.string()),
    )
    let read = 0
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...keys),
        fc.oneof(fc.jsonValue() as fc.Arbitrary<unknown>, pattern),
        async (key, value) => {
          const config = { ...adapterConfig(settings, 'b'), [key]: value }
          const outcome = await refusal(() => readPeft(config, bytesSource('a', bytes), 'a'))
          if (outcome === 'nothing was refused') read++
        },
      ),
      { numRuns: 1500 },
    )
    expect(read).toBeGreaterThan(100)
  })
})
