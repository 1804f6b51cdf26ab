// Writes the nano corpus, the texts of nano-pretrain.yaml and nano-sft.yaml, into a directory:
//
//   node examples/recipes/make-nano-corpus.ts nano [SEED]

import { writeNanoCorpus } from './corpus/nano-corpus.ts'

const [directory, seed = '1'] = process.argv.slice(2)
if (directory === undefined || !/^\d{1,9}$/.test(seed)) {
  process.stderr.write(
    'Give a directory, and a whole number as seed if you like: make-nano-corpus.ts DIR [SEED]\n',
  )
  process.exit(2)
}
await writeNanoCorpus(directory, { seed: Number(seed) })
process.stdout.write(`The nano corpus is in ${directory}.\n`)
