// gemma convert: writes a model in another container or precision.

import { stat } from 'node:fs/promises'
import { type Command, Option } from 'commander'
import type { SaveDtype } from '../weights/save.node.ts'
import { usageError } from './exit.ts'
import type { Interrupts } from './interrupt.ts'
import { addExamples, fetchModel, MODEL_HELP } from './model-options.ts'
import { note } from './output.ts'
import { createProgress } from './progress.ts'
import { formatBytes, formatSeconds } from './style.ts'

interface Flags {
  readonly dtype: SaveDtype
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
        'reads too (f32, f16, bf16, int8 = Q8_0, int4 = Q4_0). OUT appears only when it is complete.',
    )
    .argument('<model>', MODEL_HELP)
    .argument('<out>', 'a new directory, or a .gguf file')
    .addOption(
      new Option('--dtype <type>', 'precision of the matrices')
        .choices(['f32', 'f16', 'bf16', 'int8', 'int4'])
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--format <format>', 'default: gguf for int8, int4 and names that end in .gguf').choices([
        'safetensors',
        'gguf',
      ]),
    )
    .option('--force', 'replace a file that exists')
    .option('-q, --quiet', 'no progress')
    .action((model: string, out: string, flags: Flags) => runConvert(model, out, flags, interrupts))
  addExamples(command, [
    'gemma convert google/gemma-2b-it gemma-2b-it-q4.gguf --dtype int4',
    'gemma convert kaggle:google/gemma/pyTorch/2b-it ./gemma-2b-it --dtype bf16',
  ])
}

async function runConvert(model: string, out: string, flags: Flags, interrupts: Interrupts): Promise<void> {
  await checkTarget(out, flags)
  const { signal } = interrupts
  const { quiet, dtype, format } = flags
  const path = await fetchModel(model, { quiet }, interrupts)
  const { openCheckpoint } = await import('../weights/open.node.ts')
  const { convertCheckpoint } = await import('../weights/save.node.ts')
  const checkpoint = await openCheckpoint(path)
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
    await checkpoint.close()
  }
  const seconds = (performance.now() - start) / 1000
  if (!quiet) note(`${out}: ${formatBytes(written)} of weights in ${formatSeconds(seconds)}`)
}

async function checkTarget(out: string, { dtype, format, force }: Flags): Promise<void> {
  const integers = dtype === 'int8' || dtype === 'int4'
  if (format === 'safetensors' && integers) {
    throw usageError(`safetensors files hold f32, f16 or bf16, not ${dtype}.`, 'Choose --format gguf.')
  }
  if (format === 'safetensors' && out.endsWith('.gguf')) {
    throw usageError(`${out} has the name of a GGUF file, but --format is safetensors.`)
  }
  const found = await stat(out).catch(() => undefined)
  if (found === undefined) return
  const gguf = (format ?? (out.endsWith('.gguf') || integers ? 'gguf' : 'safetensors')) === 'gguf'
  if (gguf && found.isDirectory()) {
    throw usageError(`${out} is a directory.`, 'Name the .gguf file to be written.')
  }
  if (gguf && !force) throw usageError(`${out} exists.`, 'Choose another name, or replace it with --force.')
}
