// npm start: a chat with the small model that lies in this repository; without a terminal it answers the examples and
// ends. With arguments it is the program `gemma`: npm start -- chat google/gemma-2b-it

import { runCommandLine } from '../src/cli/program.ts'
import { Gemma } from '../src/index.ts'
import { checkAnswer, describeVerdict } from '../src/micro/check.ts'
import { exampleQuestions } from '../src/micro/examples.ts'

const NEXT_STEPS = `
This was Gemma micro, 1.2 million parameters, made from nothing by this repository: models/micro/README.md
says what it can do. In a terminal, npm start is a chat with it. To talk with a real Gemma, accept its licence
at huggingface.co/google/gemma-2b-it, set HF_TOKEN to a token of yours, and:

  npm start -- inspect google/gemma-2b-it      what it needs, before anything is downloaded
  npm start -- chat google/gemma-2b-it

or, with KAGGLE_USERNAME and KAGGLE_KEY set, Google's own PyTorch files:

  npm start -- chat kaggle:google/gemma/pyTorch/2b-it

npm start -- --help shows all commands.
`

async function demonstrate(): Promise<void> {
  const { stdout } = process
  await using gemma = await Gemma.load()
  stdout.write(`Gemma micro, loaded in ${Math.round(gemma.loadMs)} ms: ${gemma.description}\n`)
  for (const question of exampleQuestions) {
    stdout.write(`\n> ${question}\n`)
    const texts = gemma.chat([{ role: 'user', content: question }])
    let answer = ''
    for (;;) {
      const { value, done } = await texts.next()
      if (!done) {
        stdout.write(value)
        answer += value
        continue
      }
      const verdict = describeVerdict(checkAnswer(question, answer))
      const rate = Math.round(value.timing.decodeTokensPerSecond)
      stdout.write(`\n[${verdict}; ${value.usage.completionTokens} tokens at ${rate} per second]\n`)
      break
    }
  }
  stdout.write(NEXT_STEPS)
}

const args = process.argv.slice(2)
if (args.length > 0) process.exit(await runCommandLine(args))
if (process.stdin.isTTY) process.exit(await runCommandLine(['chat', '--check']))
await demonstrate()
