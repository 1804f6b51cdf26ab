// A conversation of two questions; the second one knows the first:
//
//   node examples/chat.ts google/gemma-2b-it

import { type ChatMessage, Gemma } from '../src/index.ts' // in a project of your own: from 'gemma-ts'

const [model = 'google/gemma-2b-it'] = process.argv.slice(2)

const gemma = await Gemma.load(model)
const messages: ChatMessage[] = []
for (const question of ['What is the largest moon of Saturn?', 'Who discovered it?']) {
  messages.push({ role: 'user', content: question })
  process.stdout.write(`> ${question}\n`)
  let answer = ''
  for await (const text of gemma.chat(messages, { maxTokens: 100 })) {
    process.stdout.write(text)
    answer += text
  }
  messages.push({ role: 'assistant', content: answer })
  process.stdout.write('\n\n')
}
await gemma.dispose()
