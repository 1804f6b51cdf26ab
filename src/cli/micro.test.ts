// The program without a model: the small one that ships with the package answers.

import { describe, expect, test } from 'vitest'
import { namesModel } from '../hub/resolve.node.ts'
import { load } from '../load.node.ts'
import { MODEL } from './testing/golden.ts'
import { runCli } from './testing/run-cli.ts'

const WORKED = '4+7=11\n8+5+1=14\n3+2+1=6\n384+257=641'

describe.concurrent('without a model', () => {
  test('generate answers a question', async ({ expect }) => {
    const { code, stdout, stderr } = await runCli(['generate', 'What is 384 + 257?', '-q'])
    expect([code, stdout, stderr]).toEqual([0, `${WORKED}\n`, ''])
  })

  test('generate takes the question from stdin or as --prompt too', async ({ expect }) => {
    const piped = await runCli(['generate', '-q'], { input: 'What is 384 + 257?\n' })
    expect([piped.code, piped.stdout]).toEqual([0, `${WORKED}\n`])
    const { code, stdout } = await runCli(['generate', '--prompt', 'What is 384 + 257?', '--json', '-q'])
    expect([code, JSON.parse(stdout)]).toMatchObject([0, { text: WORKED, finishReason: 'stop' }])
  })

  test('chat checks its answers when asked to', async ({ expect }) => {
    const input = 'What is 384 + 257?\n28 February 2024 as ISO\nSing!\n'
    const { code, stdout } = await runCli(['chat', '--check', '-q'], { input })
    expect(code).toBe(0)
    const lines = stdout.split('\n')
    expect(lines.slice(0, 7)).toEqual([
      ...WORKED.split('\n'),
      '[right (addition)]',
      '2024-02-28',
      '[right (date to ISO)]',
    ])
    expect(lines.at(-2)).toMatch(/^\[(declined; )?no checker knows this question\]$/)
  })

  test('chat gives verdicts as JSON', async ({ expect }) => {
    const { stdout } = await runCli(['chat', '--check', '--json', '-q'], { input: 'What is 384 + 257?\n' })
    expect(JSON.parse(stdout)).toMatchObject({ text: WORKED, check: { verdict: 'right', task: 'addition' } })
  })
})

test('checks what any model answers', async () => {
  const { code, stdout } = await runCli(['chat', MODEL, '--check', '-q', '-n', '3'], {
    input: 'What is 1 + 2?\n',
  })
  expect(code).toBe(0)
  expect(stdout).toContain('[wrong (addition): expected "1+2=3\\n1+2=3"]')
})

test('load without arguments gives it', async () => {
  await using gemma = await load()
  expect(gemma.config).toMatchObject({ generation: 1, hiddenSize: 128, numHiddenLayers: 4, vocabSize: 2048 })
  let answer = ''
  for await (const text of gemma.chat([{ role: 'user', content: 'What is 384 + 257?' }])) answer += text
  expect(answer.trim()).toBe(WORKED)
})

test.each([
  [MODEL, true],
  ['google/gemma-2b', true],
  ['google/gemma-2b@main', true],
  ['kaggle:google/gemma/pyTorch/2b', true],
  ['./model', true],
  ['model.gguf', true],
  ['What is 384 + 257?', false],
  ['Hello!', false],
  ['384+257=?', false],
  ['Convert 5 km to m.', false],
  ['', false],
])('%j is meant as a model: %s', async (text, expected) => {
  expect(await namesModel(text)).toBe(expected)
})
