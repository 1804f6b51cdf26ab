// Every idiom compiles under strict rules, runs, and gives what the card says: one compilation and one run for all.

import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commandCards } from './command-cards.ts'
import { idiomCards } from './typescript-cards.ts'

const compiler = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url))

describe('idioms of TypeScript', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'gemma-idioms-'))
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  test('there are about 150', () => {
    expect(idiomCards.length).toBeGreaterThanOrEqual(150)
  })

  test('each wording asks for one of them, or for a command', () => {
    const asks = [...idiomCards, ...commandCards].flatMap(({ asks }) => asks)
    expect(asks.filter((ask, i) => asks.indexOf(ask) !== i)).toEqual([])
  })

  test('all compile, run and give what they say', async () => {
    const cards = idiomCards.map(
      ({ before, code, shows }) => `async () => {\n${before}\n${code}\nreturn JSON.stringify(${shows})\n},\n`,
    )
    const result = join(directory, 'result.json')
    await writeFile(join(directory, 'package.json'), '{ "type": "module" }')
    await writeFile(
      join(directory, 'idioms.ts'),
      `import { writeFileSync } from 'node:fs'
const cards: (() => Promise<string | undefined>)[] = [\n${cards.join('')}]
writeFileSync(${JSON.stringify(result)}, JSON.stringify(await Promise.all(cards.map((card) => card()))))
`,
    )
    await writeFile(
      join(directory, 'node-fs.d.ts'),
      "declare module 'node:fs' { export function writeFileSync(path: string, text: string): void }\n",
    )
    const flags = [
      '--strict',
      '--noUncheckedIndexedAccess',
      '--target',
      'es2024',
      '--module',
      'esnext',
      '--types',
      '',
    ]
    execFileSync(process.execPath, [compiler, ...flags, '--lib', 'es2024,dom', 'idioms.ts', 'node-fs.d.ts'], {
      cwd: directory,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    execFileSync(process.execPath, ['idioms.js'], { cwd: directory, stdio: 'ignore' })
    const given = JSON.parse(await readFile(result, 'utf8')) as string[]
    expect(idiomCards.map(({ code }, i) => [code, given[i]])).toEqual(
      idiomCards.map(({ code, gives }) => [code, gives]),
    )
  })
})
