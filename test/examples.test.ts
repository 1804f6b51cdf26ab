// The examples and npm start, as they stand in the repository, run as users run them.

import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { root, runProcess } from '../src/cli/testing/run-cli.ts'
import { exampleQuestions } from '../src/micro/examples.ts'

const MODEL = join(root, 'test/data/models/gemma1-mqa')
const node = (script: string, ...args: string[]) =>
  runProcess(process.execPath, [join(root, script), ...args])

describe('examples', () => {
  /** Laid out as the directories of google/gemma/pyTorch on Kaggle. */
  let kaggle: string

  beforeAll(async () => {
    kaggle = await mkdtemp(join(tmpdir(), 'gemma-kaggle-'))
    await copyFile(join(MODEL, 'config.json'), join(kaggle, 'config.json'))
    await copyFile(join(MODEL, 'tokenizer.model'), join(kaggle, 'tokenizer.model'))
    await copyFile(join(MODEL, 'official/model.ckpt'), join(kaggle, 'gemma-2b-it.ckpt'))
  })

  afterAll(() => rm(kaggle, { recursive: true, force: true }))

  test("Google's PyTorch guide", async () => {
    const { code, stdout, stderr } = await node(
      'examples/pytorch-guide.ts',
      '--checkpoint',
      kaggle,
      '--max-tokens',
      '10',
    )
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toContain(
      '<start_of_turn>user\nWhat can I do in California?<end_of_turn>\n<start_of_turn>model\n',
    )
    expect(stdout).toContain('The template gives the same prompt.')
    // By hand and by template: the same prompt, so the same answer.
    const [, byHand, byTemplate] =
      /<start_of_turn>model\n\n([\s\S]*?)\n\nThe template .*\n([\s\S]*?)\n\nPrompt: /.exec(stdout)!
    expect(byTemplate).toBe(byHand)
    expect(byHand.length).toBeGreaterThan(3)
  })

  test('the guide names its variants', async () => {
    const { code, stderr } = await node('examples/pytorch-guide.ts', '--variant', '3b')
    expect([code, stderr]).toEqual([
      2,
      '--variant is 3b, expected one of 2b, 2b-it, 7b, 7b-it, 7b-quant, 7b-it-quant.\n',
    ])
  })

  test('generate and chat', async () => {
    const generated = await node('examples/generate.ts', MODEL, 'Hello')
    expect([generated.code, generated.stderr]).toEqual([0, ''])
    expect(generated.stdout.length).toBeGreaterThan(20)
    const chat = await node('examples/chat.ts', MODEL)
    expect([chat.code, chat.stderr]).toEqual([0, ''])
    expect(chat.stdout).toMatch(
      /^> What is the largest moon of Saturn\?\n[\s\S]+\n> Who discovered it\?\n[\s\S]+$/,
    )
  })
})

describe('npm start', () => {
  test('without a terminal answers the examples, says whether they are right, and ends', async () => {
    const { code, stdout, stderr } = await node('scripts/start.ts')
    expect([code, stderr]).toEqual([0, ''])
    for (const question of exampleQuestions) expect(stdout).toContain(`> ${question}\n`)
    expect(stdout).toContain('384+257=641\n[right (addition); ')
    expect(stdout).toContain('userNameList\n[right (case style); ')
    expect(stdout).toMatch(/fox.*\n\[right \(story\); \d+ tokens at \d+ per second\]/)
    expect(stdout).toContain('npm start -- chat google/gemma-2b-it')
  })

  test('with arguments is the program', async () => {
    const { code, stderr } = await node('scripts/start.ts', 'generate', MODEL, '--prompt', '')
    expect([code, stderr]).toEqual([2, 'gemma: The prompt is empty. Give a text to continue.\n'])
  })
})
