// The steps of Google's guide "Run Gemma with PyTorch" (https://ai.google.dev/gemma/docs/pytorch_gemma), in
// TypeScript and with the same files from Kaggle:
//
//   node examples/pytorch-guide.ts --variant 2b-it
//   node examples/pytorch-guide.ts --checkpoint ./a-directory --max-tokens 20

import { parseArgs } from 'node:util'
import { Gemma } from '../src/index.ts' // in a project of your own: from 'gemma-ts'

const { values: flags } = parseArgs({
  options: {
    variant: { type: 'string', default: '2b-it' },
    checkpoint: { type: 'string' },
    'max-tokens': { type: 'string', default: '100' },
  },
})
const maxTokens = Number(flags['max-tokens'])

// 1. Kaggle access. Accept the licence at https://www.kaggle.com/models/google/gemma, create an API token in
//    your account's settings, and set KAGGLE_USERNAME and KAGGLE_KEY (or keep ~/.kaggle/kaggle.json).

// 2. A variant: 2 or 7 billion parameters, "it" for instruction-tuned, "quant" for weights of 8 bits.
const variants = ['2b', '2b-it', '7b', '7b-it', '7b-quant', '7b-it-quant']
if (!variants.includes(flags.variant)) {
  console.error(`--variant is ${flags.variant}, expected one of ${variants.join(', ')}.`)
  process.exit(2)
}

// 3. The files: config.json, gemma-….ckpt and tokenizer.model, downloaded once into kagglehub's cache. A
//    directory that holds them already does as well.
const source = flags.checkpoint ?? `kaggle:google/gemma/pyTorch/${flags.variant}`

// 4. The model. Its configuration comes from the files, so there is none to choose; dtype: 'auto' keeps the
//    weights as they are stored (16 bits, or 8 in the quantised variants). 'int8' and 'int4' need less memory.
const gemma = await Gemma.load(source, {
  dtype: 'auto',
  onProgress({ phase, bytes, totalBytes }) {
    if (process.stderr.isTTY) process.stderr.write(`\r${phase} ${Math.floor((100 * bytes) / totalBytes)} % `)
  },
})
console.log(`\nLoaded in ${(gemma.loadMs / 1000).toFixed(1)} s: ${gemma.description}`)

// 5. A conversation in Gemma's prompt format, written by hand. <bos> is put in front by generate().
const userTurn = (text: string): string => `<start_of_turn>user\n${text}<end_of_turn>\n`
const modelTurn = (text: string): string => `<start_of_turn>model\n${text}<end_of_turn>\n`

const prompt =
  userTurn('What is a good place for travel in the US?') +
  modelTurn('California.') +
  userTurn('What can I do in California?') +
  '<start_of_turn>model\n'

console.log(`\nPrompt:\n${prompt}`)
for await (const { text } of gemma.generate(prompt, { maxTokens })) process.stdout.write(text)
console.log('\n')

// 6. The same by the template that comes with the model: the turns need not be written by hand.
const messages = [
  { role: 'user', content: 'What is a good place for travel in the US?' },
  { role: 'assistant', content: 'California.' },
  { role: 'user', content: 'What can I do in California?' },
]
const templated = gemma.tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })
console.log(
  `The template gives ${templated === `<bos>${prompt}` ? 'the same prompt' : `another prompt:\n${templated}`}.`,
)
for await (const text of gemma.chat(messages, { maxTokens })) process.stdout.write(text)
console.log('\n')

// 7. A text without turns: the model continues it.
const line = 'Write a poem about an llm writing a poem.'
console.log(`Prompt: ${line}`)
for await (const { text } of gemma.generate(line, { maxTokens })) process.stdout.write(text)
console.log()

await gemma.dispose()
