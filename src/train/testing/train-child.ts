// Trains the fake model in a process of its own, to be killed: arguments are the directory of the documents and the run
// directory. Writes a line for each checkpoint that it goes on from or has written.

import { trainRecipe } from '../train.node.ts'
import { fakeParts, fakeRecipe } from './fake-run.ts'

const [directory, output] = process.argv.slice(2)
const recipe = await fakeRecipe(directory!, { output, steps: 36, checkpoint: { everySteps: 3, keep: 2 } })
const result = await trainRecipe(
  recipe,
  {
    onProgress(event) {
      if (event.kind === 'start') process.stdout.write(`from ${event.resumedAt}\n`)
      if (event.kind === 'checkpoint') process.stdout.write(`checkpoint ${event.step}\n`)
      if (event.kind === 'note' && event.text.includes('damaged')) process.stdout.write(`${event.text}\n`)
    },
  },
  fakeParts({ delay: 2 }),
)
process.stdout.write(`done ${result.steps}\n`)
