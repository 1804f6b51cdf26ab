// Training in a process that is killed at moments nobody chose: each time it goes on from the last checkpoint that it
// told of or a later one, and after 50 steps it is as if it had never been killed.

import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createRandom } from '../generate/random.ts'

let scratch: string

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gemma-kill-'))
})
afterAll(() => rm(scratch, { recursive: true, force: true }))

interface Life {
  /** Lines on stdout. */
  readonly said: readonly string[]
  readonly killed: boolean
}

/** Trains; kills the process so many milliseconds after it has told of a step, or lets it live. */
function live(output: string, end?: { readonly step: number; readonly milliseconds: number }): Promise<Life> {
  return new Promise((resolve, reject) => {
    const script = join(import.meta.dirname, 'testing', 'train-child.ts')
    const step = end === undefined ? [] : [String(end.step)]
    const child = spawn(process.execPath, [script, join(scratch, 'data'), output, ...step], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let [stdout, stderr] = ['', '']
    let timer: NodeJS.Timeout | undefined
    child.stdout.on('data', (text) => {
      stdout += text
      if (end === undefined || !stdout.includes(`step ${end.step}\n`)) return
      timer ??= setTimeout(() => child.kill('SIGKILL'), end.milliseconds)
    })
    child.stderr.on('data', (text) => {
      stderr += text
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      if (code === 0 || signal === 'SIGKILL') {
        const said = stdout.split('\n').filter((line) => line !== '')
        resolve({ said, killed: signal === 'SIGKILL' })
      } else reject(new Error(`the child ended with ${code ?? signal}: ${stderr}`))
    })
  })
}

const last = (said: readonly string[], word: string): number | undefined => {
  const found = said.findLast((line) => line.startsWith(`${word} `))
  return found === undefined ? undefined : Number(found.slice(word.length + 1))
}

test('killed five times, it has after 50 steps the weights that it would have had', async () => {
  const whole = join(scratch, 'whole')
  const killed = join(scratch, 'killed')
  expect((await live(whole)).said.at(-1)).toBe('done 50')
  const random = createRandom(20_261_124)
  // One in each stretch of nine steps: what a life still does after its step does not reach the next one's.
  const ends = Array.from({ length: 5 }, (_, i) => ({
    step: 9 * i + 1 + Math.floor(5 * random()),
    milliseconds: Math.floor(40 * random()),
  }))
  let reached = 0
  for (const end of [...ends, undefined]) {
    const life = await live(killed, end)
    expect(life.killed).toBe(end !== undefined)
    expect(life.said.filter((line) => line.includes('damaged'))).toEqual([])
    const from = last(life.said, 'from')!
    expect(from).toBeGreaterThanOrEqual(reached)
    reached = Math.max(from, last(life.said, 'checkpoint') ?? 0)
  }
  const weights = (run: string): Promise<Buffer> => readFile(join(run, 'model', 'model.safetensors'))
  expect(await weights(killed)).toEqual(await weights(whole))
  const steps = async (run: string): Promise<unknown[]> => {
    const lines = (await readFile(join(run, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n')
    return lines
      .map((line) => JSON.parse(line))
      .filter(({ event }) => event === undefined)
      .map(({ step, loss, eval_loss, num_tokens }) => [step, loss, eval_loss, num_tokens])
  }
  expect(await steps(killed)).toEqual(await steps(whole))
  const checkpoints = (run: string): Promise<string[]> => readdir(join(run, 'checkpoints'))
  expect((await checkpoints(killed)).sort()).toEqual((await checkpoints(whole)).sort())
})
