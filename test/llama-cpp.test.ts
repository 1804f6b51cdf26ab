// What llama.cpp makes of the GGUF files that we write, where it is installed (npm run bench:llama-cpp installs it).
// In a process of its own: native code that fails must not take the other tests along.

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { isInstalled } from '../bench/llama-cpp/llama.ts'

const peer = fileURLToPath(new URL('../.scratch/peers/node-llama-cpp', import.meta.url))
const bench = fileURLToPath(new URL('../bench/llama-cpp.ts', import.meta.url))

test.skipIf(!isInstalled(peer))(
  'llama.cpp gives the same tokens and distributions from our GGUF files (skipped unless node-llama-cpp is in .scratch/peers)',
  async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [bench, '--installed'])
    const { ok, tokens, results } = JSON.parse(stdout.trimEnd().split('\n').at(-1)!)
    expect(results).toHaveLength(25)
    expect(results.filter((result: { ok: boolean }) => !result.ok)).toEqual([])
    expect(tokens.texts).toBeGreaterThan(270)
    expect(tokens.unexplained).toBe(0)
    expect(ok).toBe(true)
  },
)
