// Trains a real (tiny) model in a process of its own, to be killed: arguments are the directory of the documents, the run
// directory and, for a life that shall end early, a step. Says which checkpoints it goes on from and has written, and when
// it has taken that step; a few steps later it waits for its end, so that no machine is too slow to kill it in time.

import { train } from '../index.ts'
import { FAKE_CONFIG } from './fake-model.ts'
import { fakeRecipe } from './fake-run.ts'

/** Steps that are taken after the one that was told of, so that the end may come anywhere in them. */
const MARGIN = 3
const PATIENCE_MS = 60_000

const [directory, output, until] = process.argv.slice(2)
const recipe = await fakeRecipe(directory!, {
  output,
  steps: 50,
  threads: 2,
  checkpoint: { everySteps: 3, keep: 2 },
})
const config = { ...FAKE_CONFIG, hidden_size: 32, intermediate_size: 64, head_dim: 16, vocab_size: 1024 }
const { tokenizer } = recipe.model
const result = await train(
  { ...recipe, model: { config, tokenizer: tokenizer! } },
  {
    onProgress(event) {
      if (event.kind === 'start') process.stdout.write(`from ${event.resumedAt}\n`)
      if (event.kind === 'checkpoint') process.stdout.write(`checkpoint ${event.step}\n`)
      if (event.kind === 'note' && event.text.includes('damaged')) process.stdout.write(`${event.text}\n`)
      if (event.kind !== 'step' || until === undefined) return
      if (event.record.step === Number(until)) process.stdout.write(`step ${until}\n`)
      if (event.record.step === Number(until) + MARGIN) {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PATIENCE_MS)
      }
    },
  },
)
process.stdout.write(`done ${result.steps}\n`)
