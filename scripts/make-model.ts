// Writes a model with random weights in the shape of a published one, for benchmarks without a download:
//
//   npx node scripts/make-model.ts --shape 2b --type q4_0 --out model.gguf [--layers 4] [--head q6_k] [--seed 1] [--part-megabytes 1900]
//   npx node scripts/make-model.ts --shape 2b --type bf16 --out directory
//
// An --out that does not end in .gguf becomes a directory in Hugging Face's layout (f32, f16 or bf16).

import { parseArgs } from 'node:util'
import { GemmaError } from '../src/error.ts'
import { parseConfig } from '../src/model/config.ts'
import { modelSizes } from '../src/model/configs.ts'
import { parameterSpecs } from '../src/model/parameters.ts'
import { type RandomModel, writeRandomGguf, writeRandomHuggingFace } from '../src/weights/random.node.ts'
import type { RandomEncoding } from '../src/weights/random-blocks.ts'
import type { WriteProgress } from '../src/weights/tensor-writer.node.ts'

const encodings = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q6_K'] as const

// Beside the published sizes one that loads in a moment but is not too small to measure.
const small = {
  model_type: 'gemma',
  hidden_size: 512,
  num_hidden_layers: 8,
  num_attention_heads: 4,
  num_key_value_heads: 1,
  head_dim: 128,
  intermediate_size: 2048,
  vocab_size: 32_000,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-6,
  rope_theta: 10_000,
}
const shapes = new Map([...modelSizes.map(({ name, config }) => [name, config] as const), ['small', small]])

function modelOf(shape: string, layers: number | undefined): RandomModel {
  const found = shapes.get(shape)
  if (found === undefined) {
    throw new GemmaError(
      'usage',
      `There is no shape ${shape}.`,
      `Choose one of ${[...shapes.keys()].join(', ')}.`,
    )
  }
  const config = layers === undefined ? found : { ...found, num_hidden_layers: layers }
  return { config, weights: parameterSpecs(parseConfig(config)) }
}

function encodingOf(text: string): RandomEncoding {
  const found = encodings.find((encoding) => encoding === text.toUpperCase())
  if (found !== undefined) return found
  throw new GemmaError(
    'usage',
    `There is no type ${text}.`,
    `Choose one of ${encodings.join(', ').toLowerCase()}.`,
  )
}

function wholeNumber(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (Number.isSafeInteger(value) && value > 0) return value
  throw new GemmaError('usage', `--${name} must be a whole number above 0, not ${text}.`)
}

async function main(): Promise<void> {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    options: {
      shape: text,
      type: text,
      out: text,
      layers: text,
      head: text,
      seed: text,
      'part-megabytes': text,
    },
  })
  const { shape, type = 'q4_0', out } = values
  if (shape === undefined || out === undefined) {
    throw new GemmaError(
      'usage',
      '--shape and --out are needed.',
      `Shapes: ${[...shapes.keys()].join(', ')}.`,
    )
  }
  const model = modelOf(shape, wholeNumber(values.layers, 'layers'))
  const encoding = encodingOf(type)
  const start = performance.now()
  let last: WriteProgress | undefined
  const options = {
    seed: wholeNumber(values.seed, 'seed'),
    partBytes: (wholeNumber(values['part-megabytes'], 'part-megabytes') ?? Number.POSITIVE_INFINITY) * 1e6,
    embedding: values.head === undefined ? undefined : encodingOf(values.head),
    onProgress: (progress: WriteProgress) => {
      last = progress
    },
  }
  if (out.endsWith('.gguf')) await writeRandomGguf(out, model, encoding, options)
  else if (encoding === 'F32' || encoding === 'F16' || encoding === 'BF16') {
    await writeRandomHuggingFace(out, model, encoding, options)
  } else throw new GemmaError('usage', `A directory cannot hold ${type}.`, 'Let --out end in .gguf.')
  const seconds = (performance.now() - start) / 1000
  const megabytes = (last?.totalBytes ?? 0) / 1e6
  process.stderr.write(
    `${out}: ${megabytes.toFixed(0)} MB in ${seconds.toFixed(1)} s, ${(megabytes / seconds).toFixed(0)} MB/s\n`,
  )
}

try {
  await main()
} catch (cause) {
  process.stderr.write(`${cause instanceof Error ? cause.message : String(cause)}\n`)
  const misused = (cause instanceof GemmaError && cause.code === 'usage') || cause instanceof TypeError
  process.exitCode = misused ? 2 : 1
}
