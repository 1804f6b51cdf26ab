// npm start: shows in a second that everything works, on the tiny checkpoint in test/data. With arguments it
// is the program `gemma`: npm start -- chat google/gemma-2b-it

import { fileURLToPath } from 'node:url'
import { runCommandLine } from '../src/cli/program.ts'
import { Gemma } from '../src/index.ts'

const MODEL = 'test/data/models/gemma1-mqa'
const PROMPT = 'Hello, how are you?'

const NEXT_STEPS = `
The weights of this model are random numbers, so its text means nothing; it shows that loading and running
work on this machine. To talk with a real Gemma, accept its licence at huggingface.co/google/gemma-2b-it, set
HF_TOKEN to a token of yours, and:

  npm start -- inspect google/gemma-2b-it      what it needs, before anything is downloaded
  npm start -- chat google/gemma-2b-it

or, with KAGGLE_USERNAME and KAGGLE_KEY set, Google's own PyTorch files:

  npm start -- chat kaggle:google/gemma/pyTorch/2b-it

npm start -- --help shows all commands.
`

async function demonstrate(): Promise<void> {
  const path = fileURLToPath(new URL(`../${MODEL}`, import.meta.url))
  const gemma = await Gemma.load(path)
  const { numHiddenLayers, hiddenSize } = gemma.config
  process.stdout.write(
    `${MODEL}: Gemma ${gemma.config.generation}, ${numHiddenLayers} layers of width ${hiddenSize}, random weights\n` +
      `loaded in ${Math.round(gemma.loadMs)} ms: ${gemma.description}\n\n${PROMPT}`,
  )
  const pieces = gemma.generate(PROMPT, { maxTokens: 48 })
  for (;;) {
    const { value, done } = await pieces.next()
    if (!done) {
      process.stdout.write(value.text)
      continue
    }
    const { promptTokens, completionTokens } = value.usage
    const { prefillTokensPerSecond, decodeTokensPerSecond } = value.timing
    process.stdout.write(
      `\n\n${promptTokens} prompt tokens at ${Math.round(prefillTokensPerSecond)} per second, ` +
        `${completionTokens} new tokens at ${Math.round(decodeTokensPerSecond)} per second\n${NEXT_STEPS}`,
    )
    break
  }
  await gemma.dispose()
}

const args = process.argv.slice(2)
if (args.length > 0) process.exit(await runCommandLine(args))
await demonstrate()
