// Continues a text, token by token:
//
//   node examples/generate.ts google/gemma-2b 'The capital of France is'

import { Gemma } from '../src/index.ts' // in a project of your own: from 'gemma-ts'

const [model = 'google/gemma-2b', prompt = 'The capital of France is'] = process.argv.slice(2)

const gemma = await Gemma.load(model)
for await (const { text } of gemma.generate(prompt, {
  maxTokens: 50,
  temperature: 0.7,
  topP: 0.95,
  seed: 1,
})) {
  process.stdout.write(text)
}
process.stdout.write('\n')
await gemma.dispose()
