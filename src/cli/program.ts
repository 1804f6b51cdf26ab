// The commands and what is common to all of them: help, version, errors, exit codes, Ctrl-C. Each command
// adds itself and loads its heavy parts only when it runs, so that help and mistakes answer at once.

import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { addBench } from './bench.ts'
import { addChat } from './chat.ts'
import { addConvert } from './convert.ts'
import { EXIT, reportFailure } from './exit.ts'
import { addGenerate } from './generate.ts'
import { addInspect } from './inspect.ts'
import { createInterrupts, type Interrupts } from './interrupt.ts'
import { flush, guardOutput } from './output.ts'
import { addScore } from './score.ts'
import { addTokenize } from './tokenize.ts'
import { addTrain } from './train.ts'
import { addTrainTokenizer } from './train-tokenizer.ts'
import { addWeb } from './web.ts'

/** Runs one command line (without node and script) and returns the exit code; writes to stdout and stderr. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  guardOutput()
  const interrupts = createInterrupts()
  try {
    await createProgram(interrupts).parseAsync([...args], { from: 'user' })
    return EXIT.success
  } catch (error) {
    // commander has said what was wrong, or shown the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.success : EXIT.usage
    return reportFailure(error)
  } finally {
    await flush()
    interrupts.close()
  }
}

function createProgram(interrupts: Interrupts): Command {
  const program = new Command('gemma')
    .description('Run Google’s Gemma: generate, chat, tokenize, score, convert.')
    .version(packageVersion(), '--version', 'print the version')
    .option('--no-color', 'plain text, as with NO_COLOR=1')
    .helpOption('-h, --help', 'show help')
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => write(text.replace(/^error: /, 'gemma: ')),
    })
    .hook('preAction', (command) => {
      if (command.opts().color === false) process.env.NO_COLOR = '1'
    })
    .addHelpText(
      'after',
      `
MODEL is a directory, a .gguf, .ckpt or .safetensors file, a Hugging Face id
(google/gemma-2b-it, or with @revision) or kaggle:google/gemma/pyTorch/2b-it.

Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted.
Environment: HF_TOKEN, HF_HOME, KAGGLE_USERNAME, KAGGLE_KEY, NO_COLOR, FORCE_COLOR; DEBUG=1 shows stacks.

Examples:
  gemma chat google/gemma-2b-it
  gemma generate ./gemma-2b.gguf --prompt 'The capital of France is' --max-tokens 20
  gemma inspect google/gemma-7b-it`,
    )
  for (const add of [
    addGenerate,
    addChat,
    addTokenize,
    addScore,
    addInspect,
    addConvert,
    addTrain,
    addTrainTokenizer,
    addBench,
    addWeb,
  ]) {
    add(program, interrupts)
  }
  return program
}

function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
