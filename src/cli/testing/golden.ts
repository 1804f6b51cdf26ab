// What the golden model must say, and how output is read, for tests of the program.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { Summary } from '../../generate/options.ts'
import { root } from './run-cli.ts'

export const MODEL = 'test/data/models/gemma1-mqa'

interface GoldenPrompt {
  readonly text: string
  /** <bos> in front. */
  readonly ids: number[]
  /** The first is null. */
  readonly prompt_logprobs: number[]
  readonly greedy: { readonly ids: number[]; readonly text: string; readonly logprobs: number[] }
}

/** A JSON file of the repository. */
// biome-ignore lint/suspicious/noExplicitAny: each file has its own form
export async function readJson(path: string): Promise<any> {
  return JSON.parse(await readFile(join(root, path), 'utf8'))
}

const golden = await readJson(`${MODEL}/expected.json`)
export const short: GoldenPrompt = golden.prompts.short
export const long: GoldenPrompt = golden.prompts.long

/** What a line of output may hold. */
export interface Answer {
  readonly tokens: number[]
  readonly logprobs: number[]
  readonly sum: number
  readonly greedy: boolean
  readonly truncated: number
  readonly usage: Summary['usage']
}

/** An entry of the golden tokenizer files. */
export interface Case {
  readonly text: string
  readonly ids: number[]
  readonly note?: string
}
/** Output of one JSON object per line. */
export function linesOf(text: string): Answer[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** Log-probabilities that agree. */
export function close(actual: readonly number[], expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length)
  actual.forEach((value, i) => {
    expect(Math.abs(value - expected[i])).toBeLessThan(1e-3)
  })
}
