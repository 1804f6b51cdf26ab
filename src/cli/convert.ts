// gemma convert: writes a model in another container or precision.

import { stat } from 'node:fs/promises'
import { type Command, Option } from 'commander'
import type { Checkpoint, StoredAdapter } from '../weights/checkpoint.ts'
import type { Merged } from '../weights/merge-adapters.ts'
import type { SaveDtype } from '../weights/save.node.ts'
import { ADAPTER_HELP, fetchAdapter, noteForeignBases } from './adapters.ts'
import { usageError } from './exit.ts'
import type { Interrupts } from './interrupt.ts'
import { addExamples, fetchModel, MODEL_HELP } from './model-options.ts'
import { repeated } from './option-values.ts'
import { note } from './output.ts'
import { createProgress } from './progress.ts'
import { formatBytes, formatSeconds } from './style.ts'

interface Flags {
  readonly dtype?: SaveDtype
  readonly merge?: readonly string[]
  readonly mergeOntoQuantised?: boolean
  readonly format?: 'safetensors' | 'gguf'
  readonly force?: boolean
  readonly quiet?: boolean
}

export function addConvert(program: Command, interrupts: Interrupts): void {
  const command = program
    .command('convert')
    .summary('write a model in another format or precision')
    .description(
      'Writes a model as a Hugging Face directory (safetensors: f32, f16, bf16) or as one GGUF file that llama.cpp ' +
        'reads too (f32, f16, bf16, int8 = Q8_0, int4 = Q4_0). OUT appears only when it is complete. With --merge, ' +
        'adapters (LoRA) are added to the weights first, in float32.',
    )
    .argument('<model>', MODEL_HELP)
    .argument('<out>', 'a new directory, or a .gguf file')
    .addOption(
      new Option(
        '--dtype <type>',
        'precision of the matrices; needed unless --merge is given, which keeps that of the model',
      ).choices(['f32', 'f16', 'bf16', 'int8', 'int4']),
    )
    .addOption(
      new Option('--format <format>', 'default: gguf for int8, int4 and names that end in .gguf').choices([
        'safetensors',
        'gguf',
      ]),
    )
    .option(
      '--merge <adapter>',
      `add an adapter to the weights; may be given several times: ${ADAPTER_HELP}`,
      repeated,
    )
    .option('--merge-onto-quantised', 'merge even into weights that are stored in 8 bits or fewer')
    .option('--force', 'replace a file that exists')
    .option('-q, --quiet', 'no progress')
    .action((model: string, out: string, flags: Flags) => runConvert(model, out, flags, interrupts))
  addExamples(command, [
    'gemma convert google/gemma-2b-it gemma-2b-it-q4.gguf --dtype int4',
    'gemma convert google/gemma-2b my-2b-q4.gguf --merge ./my-adapter --dtype int4',
    'gemma convert kaggle:google/gemma/pyTorch/2b-it ./gemma-2b-it --dtype bf16',
  ])
}

async function runConvert(model: string, out: string, flags: Flags, interrupts: Interrupts): Promise<void> {
  const { merge = [], quiet } = flags
  if (flags.dtype === undefined && merge.length === 0) {
    throw usageError('--dtype is missing.', 'Choose f32, f16, bf16, int8 or int4.')
  }
  if (flags.mergeOntoQuantised && merge.length === 0) {
    throw usageError('--merge-onto-quantised says how to --merge, which is missing.', 'Give --merge ADAPTER.')
  }
  // Without a precision only what can be known before the model is there can be checked before.
  await checkTarget(out, flags.dtype ?? 'bf16', flags)
  const directories: string[] = []
  for (const adapter of merge)
    directories.push(await fetchAdapter(adapter, { quiet, signal: interrupts.signal }))
  if (!quiet)
    await noteForeignBases(model, Object.fromEntries(directories.map((path, i) => [merge[i], path])))
  const path = await fetchModel(model, { quiet }, interrupts)
  const { checkpoint, report } = await openMerged(path, directories, flags)
  try {
    const dtype = flags.dtype ?? storedDtype(checkpoint)
    if (flags.dtype === undefined && !quiet) note(`--dtype ${dtype}, as the model is stored`)
    await write(checkpoint, out, { ...flags, dtype }, interrupts)
    if (merge.length > 0 && !quiet) note(mergeLine(merge.length, report()))
  } finally {
    await checkpoint.close()
  }
}

/** The model with the adapters in it; without adapters, the model. Says what merging into a quantised one does. */
async function openMerged(path: string, adapters: readonly string[], flags: Flags): Promise<Merged> {
  const { openCheckpoint } = await import('../weights/open.node.ts')
  const { parseConfig } = await import('../model/config.ts')
  const { checkAdapter } = await import('../model/lora.ts')
  const { mergeAdapters, quantisedTargets } = await import('../weights/merge-adapters.ts')
  const { openAdapter } = await import('../weights/peft.node.ts')
  const opened: (Checkpoint | StoredAdapter)[] = []
  try {
    const checkpoint = await openCheckpoint(path)
    opened.push(checkpoint)
    const config = parseConfig(checkpoint.config, checkpoint.generationConfig)
    const stored: StoredAdapter[] = []
    for (const path of adapters) {
      const adapter = await openAdapter(path)
      opened.push(adapter)
      stored.push(adapter)
      checkAdapter(config, adapter.name, adapter.layers, adapter.everywhere)
    }
    const merged = mergeAdapters(checkpoint, stored, { ontoQuantised: flags.mergeOntoQuantised })
    for (const [encoding, count] of quantisedTargets(checkpoint, stored)) {
      note(
        `Merging into ${count} weights in ${encoding}: each is decoded to float32, changed and written anew; ` +
          `what ${encoding} rounded off stays lost.`,
      )
    }
    return merged
  } catch (error) {
    for (const one of opened) await one.close()
    throw error
  }
}

/** The precision to write a model in that keeps what it has; quantised ones are not rounded a second time. */
function storedDtype({ tensors }: Checkpoint): SaveDtype {
  const encoding = tensors.get('model.embed_tokens.weight')?.encoding
  return encoding === 'F32' ? 'f32' : encoding === 'F16' ? 'f16' : 'bf16'
}

function mergeLine(adapters: number, { weights, relativeChange }: ReturnType<Merged['report']>): string {
  const what = adapters === 1 ? 'the adapter' : `${adapters} adapters`
  return `merged ${what} into ${weights} weights, which changed by ${(100 * relativeChange).toPrecision(2)} % (root mean square)`
}

async function write(
  checkpoint: Checkpoint,
  out: string,
  { dtype, format, quiet }: Flags & { readonly dtype: SaveDtype },
  { signal }: Interrupts,
): Promise<void> {
  const { convertCheckpoint } = await import('../weights/save.node.ts')
  const progress = createProgress('Writing', { unit: 'bytes', quiet })
  const start = performance.now()
  let written = 0
  try {
    await convertCheckpoint(checkpoint, out, {
      ...{ dtype, format, signal },
      onProgress({ bytes, totalBytes }) {
        written = bytes
        progress.update(bytes, totalBytes)
      },
    })
  } finally {
    progress.end()
  }
  const seconds = (performance.now() - start) / 1000
  if (!quiet) note(`${out}: ${formatBytes(written)} of weights in ${formatSeconds(seconds)}`)
}

async function checkTarget(out: string, dtype: SaveDtype, { format, force }: Flags): Promise<void> {
  const integers = dtype === 'int8' || dtype === 'int4'
  if (format === 'safetensors' && integers) {
    throw usageError(`safetensors files hold f32, f16 or bf16, not ${dtype}.`, 'Choose --format gguf.')
  }
  const found = await stat(out).catch(() => undefined)
  if (found === undefined) return
  const gguf = (format ?? (out.endsWith('.gguf') || integers ? 'gguf' : 'safetensors')) === 'gguf'
  if (gguf && found.isDirectory()) {
    throw usageError(`${out} is a directory.`, 'Name the .gguf file to be written.')
  }
  if (gguf && !force) throw usageError(`${out} exists.`, 'Choose another name, or replace it with --force.')
}
