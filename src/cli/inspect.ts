// gemma inspect: what a model is and what it needs, without loading or even downloading it.

import type { Command } from 'commander'
import type { Interrupts } from './interrupt.ts'
import { addExamples, MODEL_HELP } from './model-options.ts'
import { wholeNumber } from './option-values.ts'
import { print, printJson } from './output.ts'

interface Flags {
  readonly json?: boolean
  readonly context?: number
}

export function addInspect(program: Command, interrupts: Interrupts): void {
  const command = program
    .command('inspect')
    .summary('what a model is and how much memory it needs')
    .description(
      'Shows configuration, parameters and the memory that each precision needs, without loading the weights, ' +
        'and for a model that is not on this machine, without downloading them.',
    )
    .argument('<model>', MODEL_HELP)
    .option('--json', 'print one JSON object')
    .option('--context <n>', 'tokens of context to reckon with', wholeNumber(2))
    .action(async (model: string, flags: Flags) => {
      const { inspect } = await import('./inspect-source.ts')
      const inspection = await inspect(model, flags, interrupts.signal)
      if (flags.json) await printJson(inspection)
      else {
        const { describeInspection } = await import('./inspect-text.ts')
        await print(describeInspection(inspection))
      }
    })
  addExamples(command, [
    'gemma inspect google/gemma-7b-it',
    'gemma inspect ./gemma-2b.gguf --context 2048',
    'gemma inspect kaggle:google/gemma/pyTorch/2b-it --json',
  ])
}
