// A training step beside the machine's limit and beside others, in turn (A B A B) in one run:
//
//   npm run bench:train -- [--shapes micro,mini] [--threads 2] [--tokens 4096] [--reps 3] [--qlora] [--no-peers]
//
// gemma-ts: forward, backward, clipping and AdamW. PyTorch the same, where /usr/bin/python3 has it (Debian's
// python3-torch); @jax-js/jax loss and gradients alone, installed into .scratch. --qlora measures one step of LoRA of
// rank 8 on all linear layers of a 2B model in 4 bits, with its peak memory, and nothing else.
// Tables to stdout, one line of JSON at the end.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { TrainingRows } from '../src/data/training-rows.ts'
import { type ModelConfig, parseConfig } from '../src/model/config.ts'
import { miniatureSizes, modelSizes } from '../src/model/configs.ts'
import { parameterSpecs } from '../src/model/parameters.ts'
import { createTrainingModel } from '../src/train/create-training-model.ts'
import { initialWeights } from '../src/train/initialize.ts'
import type { TrainingModel } from '../src/train/training-model.ts'
import type { StoredTensor } from '../src/weights/checkpoint.ts'
import { encodedBytes } from '../src/weights/encodings.ts'
import { randomBlocks } from '../src/weights/random-blocks.ts'
import { measureCeilings } from './ceilings.ts'
import { foreignCores, snapshot } from './peers/noise.ts'
import { median } from './peers/report.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

const { values } = parseArgs({
  options: {
    shapes: { type: 'string', default: 'micro,mini' },
    threads: { type: 'string', default: '2' },
    tokens: { type: 'string', default: '4096' },
    reps: { type: 'string', default: '3' },
    qlora: { type: 'boolean', default: false },
    'no-peers': { type: 'boolean', default: false },
  },
})
const threads = Number(values.threads)
const tokens = Number(values.tokens)
const reps = Number(values.reps)
/** Tokens of a run of jax-js, which keeps every intermediate. */
const JAX_TOKENS = 1024

const result = values.qlora ? await qlora() : await compareAll()
console.log(JSON.stringify({ bench: 'train', date: new Date().toISOString(), threads, ...result }))

function configOf(name: string): ModelConfig {
  const found = [...miniatureSizes, ...modelSizes].find((size) => size.name === name)
  if (!found) throw new Error(`there is no shape ${name}`)
  return parseConfig(found.config)
}

/** Multiply-adds of one token forward and backward: three products for each weight, and attention. */
function macsPerToken(config: ModelConfig, context: number): number {
  const matrices = parameterSpecs(config).filter(({ shape }) => shape.length === 2)
  const weights = matrices.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0)
  // Scores and mixing over half the context forward; on the way back both again, twice, and the scores once more.
  const attention = config.numHiddenLayers * config.numAttentionHeads * config.headDim * context * 3.5
  return 3 * weights + attention
}

function documents(count: number, context: number, vocabulary: number): TrainingRows {
  const random = (): Int32Array =>
    Int32Array.from({ length: count }, () => Math.floor(Math.random() * vocabulary))
  return {
    tokens: random(),
    targets: random(),
    positions: Int32Array.from({ length: count }, (_, i) => i % context),
    sequences: Int32Array.from({ length: count }, (_, i) => Math.floor(i / context)),
  }
}

async function step(model: TrainingModel, rows: TrainingRows, number: number): Promise<number> {
  const start = performance.now()
  await model.accumulate(rows, { scale: 1 / rows.tokens.length, seed: number })
  const norm = await model.gradientNorm()
  await model.update({ step: number, learningRate: 1e-3, gradientScale: Math.min(1, 1 / norm) })
  return (performance.now() - start) / 1000
}

async function compareAll(): Promise<object> {
  const [ceiling] = await measureCeilings({ threads: [threads] })
  const results: object[] = []
  for (const shape of values.shapes.split(',')) {
    const config = configOf(shape)
    const context = config.maxPositionEmbeddings
    const model = await createTrainingModel({
      ...{ config, rows: tokens, contextLength: context, threads },
      weights: initialWeights(config, { seed: 1, range: 0.02 }),
      optimizer: {
        ...{ name: 'adamw', beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 },
        decays: (_, dimensions) => dimensions > 1,
      },
    })
    await step(model, documents(tokens, context, config.vocabSize), 1)
    const own: number[] = []
    const torch: number[] = []
    const jax: number[] = []
    const before = snapshot()
    for (let rep = 0; rep < reps; rep++) {
      const rows = documents(tokens, context, config.vocabSize)
      for (let i = 0; i < 3; i++) own.push(tokens / (await step(model, rows, 2 + 3 * rep + i)))
      if (values['no-peers']) continue
      torch.push(
        ...peer(['/usr/bin/python3', join(ROOT, 'bench/peers/train_torch.py')], config, tokens, [3, threads]),
      )
      jax.push(...(await jaxRates(config)))
    }
    const foreign = foreignCores(before, snapshot())
    await model.dispose()
    const rate = median(own)
    const share = (rate * macsPerToken(config, context)) / 1e9 / ceiling!.f32
    const others = [
      ['PyTorch', torch],
      ['jax-js', jax],
    ] as const
    const beside = others
      .filter(([, list]) => list.length > 0)
      .map(([name, list]) => `${name} ${median(list).toFixed(0)} (${(rate / median(list)).toFixed(2)}×)`)
    console.log(
      `${shape.padEnd(6)} ${rate.toFixed(0)} tokens/s, ${((rate * macsPerToken(config, context)) / 1e9).toFixed(1)} GMAC/s, ` +
        `${(100 * share).toFixed(0)} % of ${ceiling!.f32.toFixed(1)}; ${beside.join(', ')}`,
    )
    results.push({
      shape,
      tokensPerSecond: rate,
      share,
      torch: median(torch),
      jax: median(jax),
      own,
      foreign,
    })
  }
  return { ceiling, results }
}

/** Tokens a second of each step; nothing where the other engine is not there. */
function peer(
  command: readonly string[],
  config: ModelConfig,
  count: number,
  more: readonly number[],
): number[] {
  const [program, ...first] = command
  if (!existsSync(program!)) return []
  const context = config.maxPositionEmbeddings
  const { hiddenSize, intermediateSize, numHiddenLayers, numAttentionHeads, headDim, vocabSize } = config
  const sizes = [hiddenSize, intermediateSize, numHiddenLayers, numAttentionHeads, headDim, vocabSize]
  const numbers = [...sizes, count / context, context, ...more]
  const { status, stdout, stderr } = spawnSync(program!, [...first, ...numbers.map(String)], {
    encoding: 'utf8',
  })
  if (status !== 0) {
    process.stderr.write(`left out: ${command.join(' ')}: ${stderr.trim().split('\n').at(-1)}\n`)
    return []
  }
  const { seconds } = JSON.parse(stdout.trim().split('\n').at(-1)!) as { seconds: number[] }
  return seconds.map((second) => count / second)
}

async function jaxRates(config: ModelConfig): Promise<number[]> {
  const folder = join(ROOT, '.scratch/jax')
  await mkdir(folder, { recursive: true })
  if (!existsSync(join(folder, 'node_modules/@jax-js/jax'))) {
    await writeFile(join(folder, 'package.json'), '{"private": true}\n')
    spawnSync('npm', ['install', '@jax-js/jax@0.1.25'], { cwd: folder, stdio: 'inherit' })
  }
  const command = [process.execPath, join(ROOT, 'bench/peers/train-jax.child.mjs'), folder]
  return peer(command, config, JAX_TOKENS, [2])
}

/** Weights of a 2B model in 4 bits, made up as they are read. */
function randomBase(config: ModelConfig): Map<string, StoredTensor> {
  return new Map(
    parameterSpecs(config).map(({ name, shape }): [string, StoredTensor] => {
      const columns = shape.at(-1)!
      const matrix = shape.length === 2
      const encoding = matrix ? 'Q4_0' : 'F32'
      const fill = randomBlocks('Q4_0', name, 0.02)
      return [
        name,
        {
          ...{ name, shape, encoding, subtract: 0, rowBytes: encodedBytes(encoding, columns) },
          async readRows(_, into) {
            if (matrix) fill(into)
            else into.fill(0)
          },
        },
      ]
    }),
  )
}

async function qlora(): Promise<object> {
  const config = configOf('2b')
  const rows = 512
  const start = performance.now()
  const model = await createTrainingModel({
    ...{ config, rows, contextLength: rows, threads, checkpointing: true },
    weights: randomBase(config),
    lora: {
      ...{ rank: 8, alpha: 16, dropout: 0, rsLora: false },
      targets: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
    },
    optimizer: {
      ...{ name: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
      decays: () => false,
    },
  })
  const load = (performance.now() - start) / 1000
  const seconds: number[] = []
  console.log(`QLoRA of 2B: loaded in ${load.toFixed(1)} s`)
  let peak = 0
  for (let i = 1; i <= reps; i++) {
    seconds.push(await step(model, documents(rows, rows, config.vocabSize), i))
    peak = process.resourceUsage().maxRSS * 1024
    const most = (peak / 2 ** 30).toFixed(2)
    console.log(`step ${i}: ${seconds.at(-1)!.toFixed(1)} s for ${rows} tokens, peak ${most} GiB`)
  }
  const memory = model.memoryBytes()
  await model.dispose()
  return { shape: '2b', qlora: true, rows, seconds, peakBytes: peak, memory }
}
