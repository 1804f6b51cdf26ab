// llama.cpp, through node-llama-cpp, as something that gives logits and ids. Knows nothing of this package.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** The part of node-llama-cpp's interface that is used here; the package is no dependency. */
interface Package {
  getLlama(options: object): Promise<{ loadModel(options: object): Promise<Model> }>
}
interface Model {
  tokenize(text: string, special: boolean): number[]
  createContext(options: object): Promise<{ getSequence(): Sequence; dispose(): Promise<void> }>
  dispose(): Promise<void>
}
interface Sequence {
  clearHistory(): Promise<void>
  controlledEvaluate(
    input: readonly [number, { generateNext: { logits: true } }][],
  ): Promise<{ next: { logits: Map<number, number> } }[]>
}

export interface Llama {
  /** Logits after each token: the first `together` tokens go in at once, the others one by one. */
  logits(tokens: readonly number[], together: number): Promise<Float32Array[]>
  /** Without <bos>. `special`: control tokens are recognised in the text. */
  tokenize(text: string, special: boolean): number[]
  dispose(): Promise<void>
}

const ENTRY = 'node_modules/node-llama-cpp/dist/index.js'

/** Whether node-llama-cpp lies in the folder. */
export function isInstalled(folder: string): boolean {
  return existsSync(join(folder, ENTRY))
}

/** Gives a loader of files; `folder` has node-llama-cpp in its node_modules. On the processor, one thread. */
export async function startLlama(folder: string): Promise<(file: string) => Promise<Llama>> {
  const { getLlama } = (await import(pathToFileURL(join(folder, ENTRY)).href)) as Package
  const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 1, logLevel: 'error' })
  return async (file) => {
    const model = await llama.loadModel({ modelPath: file, gpuLayers: 0, ignoreMemorySafetyChecks: true })
    const context = await model.createContext({
      contextSize: 256,
      batchSize: 256,
      sequences: 1,
      threads: 1,
      ignoreMemorySafetyChecks: true,
      // Its usual f16 would hide smaller errors: ten times the divergence in F32 files.
      flashAttention: false,
      experimentalKvCacheKeyType: 'F32',
      experimentalKvCacheValueType: 'F32',
    })
    const sequence = context.getSequence()
    const evaluate = async (tokens: readonly number[]): Promise<Float32Array[]> => {
      const input = tokens.map((token) => [token, { generateNext: { logits: true } }] as const)
      const outputs = await sequence.controlledEvaluate(input as never)
      return outputs.map(({ next }) => rowOf(next.logits))
    }
    return {
      async logits(tokens, together) {
        await sequence.clearHistory()
        const rows = await evaluate(tokens.slice(0, together))
        for (const token of tokens.slice(together)) rows.push(...(await evaluate([token])))
        return rows
      },
      tokenize: (text, special) => model.tokenize(text, special),
      async dispose() {
        await context.dispose()
        await model.dispose()
      },
    }
  }
}

function rowOf(logits: ReadonlyMap<number, number>): Float32Array {
  const row = new Float32Array(logits.size)
  for (const [token, logit] of logits) row[token] = logit
  return row
}
