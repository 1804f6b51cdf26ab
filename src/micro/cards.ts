// Two families that are looked up, not worked out: idioms of TypeScript, and the commands of `gemma`.

import { commandCards } from './command-cards.ts'
import { pick, type Task } from './task.ts'
import { idiomCards } from './typescript-cards.ts'

const codeByAsk: ReadonlyMap<string, string> = new Map(
  idiomCards.flatMap(({ asks, code }) => asks.map((ask): [string, string] => [ask, code])),
)
const commandByAsk: ReadonlyMap<string, string> = new Map(
  commandCards.flatMap(({ asks, command }) => asks.map((ask): [string, string] => [ask, command])),
)

export const idioms: Task = {
  name: 'idiom',
  family: 'typescript',
  wordings: [
    ...[
      'How do I {ask} in TypeScript?',
      'TypeScript: {ask}',
      'Show me how to {ask}.',
      'Write TypeScript to {ask}.',
    ],
    ...[
      'Show me how to {ask} in TypeScript.',
      'How do I {ask}?',
      'How can I {ask} in TypeScript?',
      'I want to {ask}.',
    ],
    ...[
      'I want to {ask} in TypeScript.',
      'Write TypeScript that can {ask}.',
      'What code do I write to {ask}?',
      '{ask}',
    ],
    ...['{ask} in TypeScript', 'Give me code to {ask}.', 'How do I write code to {ask}?'],
  ],
  gaps: { ask: '.+?' },
  draw: (random) => ({ ask: pick(random, pick(random, idiomCards).asks) }),
  answer: ({ ask }) => codeByAsk.get(ask!),
  format:
    /^(const|let|type|interface|class|function|async|await|for|while|if|switch|try|items|map|set)\b.*[^\s,;({[]$/s,
}

export const commands: Task = {
  name: 'command',
  family: 'commands',
  wordings: [
    ...[
      'How do I {ask} with gemma?',
      'gemma: {ask}',
      'Which command do I use to {ask}?',
      'I want to {ask} with gemma.',
    ],
    ...['Show me the command to {ask}.', 'What is the command to {ask}?', 'How can I {ask} with gemma?'],
    ...[
      'Which command do I need to {ask}?',
      'Give me the command to {ask}.',
      'What command do I use to {ask}?',
    ],
  ],
  gaps: { ask: '.+?' },
  draw: (random) => ({ ask: pick(random, pick(random, commandCards).asks) }),
  answer: ({ ask }) => commandByAsk.get(ask!),
  format: /^gemma [\w-].*$/,
}
