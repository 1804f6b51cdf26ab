// Where kagglehub looks for credentials, in its order: an access token (KAGGLE_API_TOKEN, the token or a
// file with it; ~/.kaggle/access_token), then a user name with a key (variables; kaggle.json). Node only.
// Knows nothing about what they open.

import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { GemmaError } from '../error.ts'
import type { Environment } from './download-options.ts'

/** The `Authorization` header for Kaggle; undefined without credentials. Throws GemmaError 'usage' on a broken kaggle.json. */
export async function kaggleAuthorization(env: Environment): Promise<string | undefined> {
  const token = await readToken(env)
  if (token !== undefined) return `Bearer ${printable(token, 'the Kaggle API token')}`
  if (env.KAGGLE_USERNAME && env.KAGGLE_KEY) return basic(env.KAGGLE_USERNAME.trim(), env.KAGGLE_KEY.trim())
  const path = join(env.KAGGLE_CONFIG_DIR || join(env.HOME || homedir(), '.kaggle'), 'kaggle.json')
  const text = await readFile(path, 'utf8').catch(() => undefined)
  return text === undefined ? undefined : readKaggleJson(text, path)
}

async function readToken(env: Environment): Promise<string | undefined> {
  const set = env.KAGGLE_API_TOKEN?.trim()
  if (set) return (await readTrimmed(set)) ?? set
  const folder = join(env.HOME || homedir(), '.kaggle')
  return (
    (await readTrimmed(join(folder, 'access_token'))) ?? (await readTrimmed(join(folder, 'access_token.txt')))
  )
}

async function readTrimmed(path: string): Promise<string | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return text.trim() || undefined
}

function readKaggleJson(text: string, path: string): string {
  let parsed: { username?: unknown; key?: unknown } | null
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw new GemmaError('usage', `${path}: expected JSON.`, 'Create a new token in the Kaggle settings.', {
      cause,
    })
  }
  const { username, key } = parsed ?? {}
  if (typeof username === 'string' && typeof key === 'string') return basic(username, key)
  throw new GemmaError(
    'usage',
    `${path}: expected "username" and "key".`,
    'Create a new token in the Kaggle settings.',
  )
}

function basic(username: string, key: string): string {
  const text = printable(`${username}:${key}`, 'the Kaggle user name and key')
  return `Basic ${btoa(text)}`
}

function printable(text: string, what: string): string {
  if (/^[\x21-\x7e]+$/.test(text)) return text
  throw new GemmaError(
    'usage',
    `Expected ${what} to be letters, digits and punctuation, got other characters.`,
  )
}
