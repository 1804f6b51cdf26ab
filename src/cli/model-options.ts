// What the commands that run a model share: the argument MODEL, the options of loading and sampling, and
// fetching and loading with progress. Knows no command.

import { fileURLToPath } from 'node:url'
import { type Command, Option } from 'commander'
import { builtInModel } from '../built-in.ts'
import { throwIfAborted } from '../error.ts'
import type { Gemma } from '../gemma.ts'
import type { WeightDtype } from '../generate/load-choices.ts'
import type { GenerateOptions } from '../generate/options.ts'
import type { CacheDtype } from '../graph/dtype.ts'
import { type AdapterFlags, fetchAdapters, noteForeignBases } from './adapters.ts'
import type { Interrupts } from './interrupt.ts'
import { decimal, repeated, wholeNumber } from './option-values.ts'
import { note } from './output.ts'
import { createProgress } from './progress.ts'
import { formatBytes } from './style.ts'

export interface LoadFlags extends AdapterFlags {
  readonly device?: 'auto' | 'cpu' | 'webgpu'
  readonly dtype?: WeightDtype
  readonly threads?: number
  readonly context?: number
  readonly cache?: CacheDtype
}

export interface SamplingFlags {
  readonly maxTokens?: number
  readonly temperature?: number
  readonly topK?: number
  readonly topP?: number
  readonly seed?: number
  readonly stop?: readonly string[]
}

export const MODEL_HELP =
  'directory, .gguf, .ckpt or .safetensors file, Hugging Face id or kaggle:owner/model/framework/variation'

export function addLoadOptions(command: Command): Command {
  return command
    .addOption(new Option('--device <device>', 'where to run').choices(['auto', 'cpu', 'webgpu']))
    .addOption(
      new Option(
        '--dtype <type>',
        'precision of the weights in memory; auto keeps what the file has',
      ).choices(['auto', 'f32', 'bf16', 'int8', 'int8row', 'int4']),
    )
    .option('--threads <n>', 'worker threads; default: one for each core', wholeNumber(0, 256))
    .option('--context <n>', 'tokens of prompt and answer together', wholeNumber(2))
    .addOption(
      new Option('--cache <type>', 'precision of the context’s keys and values').choices([
        'f32',
        'f16',
        'int8',
      ]),
    )
    .option('-q, --quiet', 'no progress and no figures')
}

export function addSamplingOptions(command: Command): Command {
  return command
    .option('-n, --max-tokens <n>', 'most new tokens', wholeNumber(0))
    .option('-t, --temperature <x>', '0 takes the most likely token each time', decimal(0))
    .option('--top-k <n>', 'draw from the n most likely tokens only', wholeNumber(1))
    .option(
      '--top-p <x>',
      'draw from the likeliest tokens that hold this share',
      decimal(0, { above: true, most: 1 }),
    )
    .option('--seed <n>', 'makes sampling repeatable', wholeNumber(0))
    .option('--stop <text>', 'text that ends the answer; may be given several times', repeated)
}

export function samplingOf(flags: SamplingFlags): GenerateOptions {
  const { maxTokens, temperature, topK, topP, seed, stop } = flags
  return { maxTokens, temperature, topK, topP, seed, stop }
}

export function addExamples(command: Command, lines: readonly string[]): Command {
  return command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`)
}

export const OPTIONAL_MODEL_HELP: string = `${MODEL_HELP}; without one, the small model that ships with gemma-ts`

/** The model's place on this machine, downloading it if need be. Refuses what could not be loaded anyway. */
export async function fetchModel(
  source: string | undefined,
  flags: LoadFlags,
  { signal }: Pick<Interrupts, 'signal'>,
): Promise<string> {
  if (source === undefined) return fileURLToPath(builtInModel())
  const { describeRemote, parseSource, resolveModel } = await import('../hub/resolve.node.ts')
  const parsed = await parseSource(source)
  throwIfAborted(signal)
  if (parsed.kind === 'path') return parsed.path
  const description = await describeRemote(source, { signal })
  if (description.path !== undefined) return description.path
  const { assertFits } = await import('./memory-estimate.ts')
  assertFits(source, description, flags)
  if (!flags.quiet) note(`${source}: ${formatBytes(description.totalBytes)} to download`)
  const progress = createProgress('Downloading', { unit: 'bytes', quiet: flags.quiet })
  try {
    return await resolveModel(source, {
      signal,
      onProgress({ bytes, totalBytes, bytesPerSecond, secondsLeft, message }) {
        if (message !== undefined) progress.say(message)
        progress.update(bytes, totalBytes, { rate: bytesPerSecond, secondsLeft })
      },
    })
  } finally {
    progress.end()
  }
}

/**
 * Fetches and loads, runs `work`, and disposes of the model however that ends. Without a source it is the model that ships
 * with the package.
 */
export async function withModel<T>(
  source: string | undefined,
  flags: LoadFlags,
  interrupts: Interrupts,
  work: (gemma: Gemma) => Promise<T>,
): Promise<T> {
  // Adapters first: what is wrong with one shows before a model is fetched.
  const adapters = await fetchAdapters(flags, interrupts)
  if (!flags.quiet && source !== undefined) await noteForeignBases(source, adapters)
  const path = await fetchModel(source, flags, interrupts)
  const { load } = await import('../load.node.ts')
  const { device, dtype, threads, context: contextLength, cache: cacheDtype, quiet } = flags
  const progress = createProgress('Loading', { unit: 'bytes', quiet })
  const gemma = await load(path, {
    ...{ device, dtype, threads, contextLength, cacheDtype, adapters },
    signal: interrupts.signal,
    onProgress: ({ bytes, totalBytes }) => progress.update(bytes, totalBytes),
  }).finally(() => progress.end())
  try {
    return await work(gemma)
  } finally {
    await gemma.dispose()
  }
}
