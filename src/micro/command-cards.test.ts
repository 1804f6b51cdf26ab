// What is said about the commands is what their help says.

import { describe, expect, test } from 'vitest'
import { runCli } from '../cli/testing/run-cli.ts'
import { commandCards } from './command-cards.ts'

const helpOf = new Map<string, Promise<string>>()

function help(command: readonly string[]): Promise<string> {
  const key = command.join(' ')
  const text = helpOf.get(key) ?? runCli([...command, '--help']).then(({ stdout }) => stdout)
  helpOf.set(key, text)
  return text
}

describe('commands', () => {
  test('there are about forty', () => expect(commandCards.length).toBeGreaterThanOrEqual(40))

  test.each(commandCards.map(({ command }) => [command]))('%s', async (command) => {
    const [program, ...words] = command.match(/'[^']*'|\S+/g)!
    expect(program).toBe('gemma')
    const path = words.slice(0, words[0] === 'train' && words[1] === 'report' ? 2 : 1)
    const isCommand = !path[0]!.startsWith('-') && path[0] !== 'help'
    const text = await help(isCommand ? path : [])
    if (isCommand) expect(text).toContain(`Usage: gemma ${path.join(' ')} `)
    for (const option of words.filter((word) => word.startsWith('--')))
      expect(text).toMatch(new RegExp(`${option}\\b`))
    // What is in capitals are arguments, as many as the command asks for or more of the last.
    const taken = (isCommand ? words.slice(path.length) : []).filter(
      (word, i, all) => /^[A-Z]+(\.gguf)?$/.test(word) && !all[i - 1]?.startsWith('--'),
    )
    const usage = isCommand ? /^Usage: .*$/m.exec(text)![0] : ''
    expect(taken.length).toBeGreaterThanOrEqual((usage.match(/<[\w.]+>/g) ?? []).length)
    expect(taken.length).toBeLessThanOrEqual((usage.match(/<[\w.]+>|\[model\]/g) ?? []).length)
  })
})
