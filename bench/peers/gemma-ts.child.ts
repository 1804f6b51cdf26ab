// gemma-ts in a process of its own, from its build: node gemma-ts.child.ts FOLDER-OF-THE-BUILD

import { pathToFileURL } from 'node:url'
import type { Gemma } from '../../src/index.ts'
import { serve } from './child.ts'

const library = (await import(
  pathToFileURL(`${process.argv[2]}/index.js`).href
)) as typeof import('../../src/index.ts')
let gemma: Gemma

serve({
  async load({ model, threads, contextLength }) {
    gemma = await library.Gemma.load(model.file, { threads, contextLength })
  },
  async answer(tokens, _kept, count, onToken) {
    // Guessing ahead would flatter random weights, whose text runs in circles.
    const options = { maxTokens: count, temperature: 0, stopTokens: [], speculative: false }
    for await (const { token } of gemma.generate(tokens, options)) onToken(token)
  },
  dispose: () => gemma.dispose(),
})
