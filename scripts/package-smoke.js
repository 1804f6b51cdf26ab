// Run by check-package.ts inside a project that has installed the packed library, with each Node that is
// promised: plain JavaScript, only what package.json exports. Argument: the directory of a golden model.

import { strict as assert } from 'node:assert'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Gemma, GemmaError, modelSizes } from 'gemma-ts'
import { createTokenizer } from 'gemma-ts/tokenizer'
import { train } from 'gemma-ts/train'
import { bytesSource, readSafetensors } from 'gemma-ts/weights'
import { openCheckpoint } from 'gemma-ts/weights/node'

const model = process.argv[2]
const { prompts } = JSON.parse(readFileSync(join(model, 'expected.json'), 'utf8'))
const { ids, greedy } = prompts.short

for (const threads of [0, 2]) {
  const gemma = await Gemma.load(model, { threads })
  const tokens = []
  for await (const piece of gemma.generate(ids, { maxTokens: greedy.ids.length })) tokens.push(piece.token)
  assert.deepEqual(tokens, greedy.ids)
  await gemma.dispose()
}
await assert.rejects(Gemma.load('/nowhere/model.gguf'), (error) => error instanceof GemmaError)
assert.ok(modelSizes.length > 5)
await assert.rejects(train({ stage: 'sft', steps: 1 }), (error) => error.code === 'recipe')

const sentencePiece = readFileSync(join(model, 'tokenizer.model'))
const tokenizer = createTokenizer({ sentencePiece })
assert.equal(tokenizer.decode(tokenizer.encode('Hello, world')), 'Hello, world')

const file = bytesSource('model.safetensors', readFileSync(join(model, 'model.safetensors')))
assert.ok((await readSafetensors(file)).entries.size > 10)
const checkpoint = await openCheckpoint(model)
assert.equal(checkpoint.container, 'safetensors')
await checkpoint.close()

const require = createRequire(import.meta.url)
assert.equal(require('gemma-ts').Gemma, Gemma)
assert.equal(require('gemma-ts/package.json').name, 'gemma-ts')
await assert.rejects(import('gemma-ts/dist/index.js'), { code: 'ERR_PACKAGE_PATH_NOT_EXPORTED' })
process.stdout.write(`Node ${process.version}: loads, generates the golden tokens, refuses clearly\n`)
