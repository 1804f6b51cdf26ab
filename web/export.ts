// A conversation as a file to keep.

import type { Turn } from './conversation.ts'
import type { Loaded, Sampling } from './engine/protocol.ts'

export function saveJson(turns: readonly Turn[], loaded: Loaded, sampling: Sampling, system: string): void {
  const messages = turns.map(({ role, content }) => ({ role, content }))
  const all = system === '' ? messages : [{ role: 'system', content: system }, ...messages]
  const record = {
    model: loaded.name,
    runs: loaded.description,
    date: new Date().toISOString(),
    sampling,
    messages: all,
  }
  save('conversation.json', 'application/json', `${JSON.stringify(record, undefined, 2)}\n`)
}

export function saveMarkdown(turns: readonly Turn[], loaded: Loaded): void {
  const said = turns.map(({ role, content, stopped }) => {
    return `**${role === 'user' ? 'You' : 'Gemma'}:** ${content}${stopped ? ' (stopped)' : ''}\n`
  })
  save('conversation.md', 'text/markdown', `# A conversation with ${loaded.name}\n\n${said.join('\n')}`)
}

function save(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  // The browser has taken hold of it by the next task.
  setTimeout(() => URL.revokeObjectURL(url))
}
