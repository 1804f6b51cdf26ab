// node-llama-cpp in a process of its own: node node-llama-cpp.child.ts FOLDER-WITH-ITS-NODE_MODULES. Its own build of
// llama.cpp for this processor, on the processor only, everything else as it comes.

import { pathToFileURL } from 'node:url'
import { serve } from './child.ts'

/** The part of its interface that is used here; the package is no dependency. */
interface Llama {
  getLlama(options: object): Promise<{ loadModel(options: object): Promise<LlamaModel> }>
}
interface LlamaModel {
  createContext(options: object): Promise<{ getSequence(): LlamaSequence }>
  dispose(): Promise<void>
}
interface LlamaSequence {
  readonly nextTokenIndex: number
  clearHistory(): Promise<void>
  evaluate(tokens: readonly number[], options: object): AsyncIterable<number>
}

const entry = `${process.argv[2]}/node_modules/node-llama-cpp/dist/index.js`
const { getLlama } = (await import(pathToFileURL(entry).href)) as Llama
let model: LlamaModel
let sequence: LlamaSequence

serve({
  async load({ model: { file }, threads, contextLength }) {
    const llama = await getLlama({ gpu: false, build: 'never', maxThreads: threads, logLevel: 'error' })
    model = await llama.loadModel({ modelPath: file, gpuLayers: 0, ignoreMemorySafetyChecks: true })
    const context = await model.createContext({
      contextSize: contextLength,
      batchSize: 512,
      sequences: 1,
      threads,
      ignoreMemorySafetyChecks: true,
    })
    sequence = context.getSequence()
  },
  async answer(tokens, kept, count, onToken) {
    if (kept === 0) await sequence.clearHistory()
    else if (sequence.nextTokenIndex !== kept) {
      throw new Error(`${kept} tokens of context were expected, there are ${sequence.nextTokenIndex}`)
    }
    let made = 0
    for await (const token of sequence.evaluate(tokens.slice(kept), {
      temperature: 0,
      yieldEogToken: true,
    })) {
      onToken(token)
      if (++made === count) break
    }
  },
  dispose: () => model.dispose(),
})
