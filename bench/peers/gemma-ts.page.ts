// gemma-ts in a page, from its build under /package/; weights are read by ranges while they load.

import type { Gemma } from '../../src/index.web.ts'
import { type Calls, createCalls } from './prompt.ts'

// @ts-expect-error: an address of the page's server
const library: typeof import('../../src/index.web.ts') = await import('/package/index.web.js')
let gemma: Gemma

const calls: Calls = createCalls({
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

export const start: Calls['start'] = calls.start
export const run: Calls['run'] = calls.run
export const fill: Calls['fill'] = calls.fill
