// The smallest page: the model that ships with the package answers one question. Stands here until there is a chat.

import { Gemma } from '../src/index.web.ts'

const page = document.querySelector('#page')!
const gemma = await Gemma.load()
page.textContent = `${gemma.description}\n`
for await (const text of gemma.chat([{ role: 'user', content: 'What is 384 + 257?' }])) page.append(text)
await gemma.dispose()
