// What the commands share about adapters: the option --adapter, and bringing adapters onto this machine. Knows no
// command.

import { basename } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { usageError } from './exit.ts'
import type { Interrupts } from './interrupt.ts'
import { note } from './output.ts'
import { createProgress } from './progress.ts'
import { styleFor } from './style.ts'

export interface NamedAdapter {
  readonly name: string
  /** A directory or an id. */
  readonly source: string
}

export interface AdapterFlags {
  readonly adapter?: readonly NamedAdapter[]
  readonly quiet?: boolean
}

export const ADAPTER_HELP = 'directory of PEFT, Hugging Face id or kaggle:owner/model/framework/variation'

export function addAdapterOption(command: Command, what: string): Command {
  return command.option('--adapter <[name=]adapter>', `${what}: ${ADAPTER_HELP}`, parseAdapter)
}

/** 'name=source', or a source alone, which is named after its last part. */
export function parseAdapter(text: string, before: readonly NamedAdapter[] = []): NamedAdapter[] {
  const named = /^([\w.-]+)=(.*)$/.exec(text)
  const source = named === null ? text : named[2]
  const name = named?.[1] ?? basename(source.replace(/@[^/\\]*$/, ''))
  if (name === 'none') throw new InvalidArgumentError('No adapter can be called none: that means without.')
  if (source === '' || name === '') throw new InvalidArgumentError('Expected a directory or an id.')
  if (before.some((other) => other.name === name)) {
    throw new InvalidArgumentError(`Two adapters are called ${name}; name them: --adapter other=${source}.`)
  }
  return [...before, { name, source }]
}

/** The name of the adapter of a command that takes one at most. */
export function oneAdapter({ adapter = [] }: AdapterFlags): string | undefined {
  if (adapter.length <= 1) return adapter[0]?.name
  throw usageError('This command takes one adapter.', 'gemma chat and gemma score take several.')
}

/** Directories of adapters on this machine by name, fetched if need be. Throws GemmaError. */
export async function fetchAdapters(
  { adapter: wanted = [], quiet }: AdapterFlags,
  { signal }: Pick<Interrupts, 'signal'>,
): Promise<Record<string, string>> {
  const paths: [string, string][] = []
  for (const { name, source } of wanted) paths.push([name, await fetchAdapter(source, { quiet, signal })])
  return Object.fromEntries(paths)
}

/** The directory of one adapter on this machine. */
export async function fetchAdapter(
  source: string,
  { quiet, signal }: { readonly quiet?: boolean; readonly signal: AbortSignal },
): Promise<string> {
  const { resolveAdapter } = await import('../hub/resolve.node.ts')
  const progress = createProgress('Downloading the adapter', { unit: 'bytes', quiet })
  try {
    return await resolveAdapter(source, {
      signal,
      onProgress({ bytes, totalBytes, message }) {
        if (message !== undefined) progress.say(message)
        progress.update(bytes, totalBytes)
      },
    })
  } finally {
    progress.end()
  }
}

const HUB_ID = /^[\w-]+\/[\w.-]+$/

/**
 * Says so when an adapter was trained on another model than the one it is used with: shapes alone do not tell
 * google/gemma-2b from google/gemma-2b-it. Only names on the Hub can be compared.
 */
export async function noteForeignBases(
  model: string,
  adapters: Readonly<Record<string, string>>,
): Promise<void> {
  const given = model.replace(/@.*$/, '')
  if (!HUB_ID.test(given)) return
  const { openAdapter } = await import('../weights/peft.node.ts')
  for (const [name, path] of Object.entries(adapters)) {
    const adapter = await openAdapter(path)
    await adapter.close()
    const base = adapter.baseName ?? given
    if (!HUB_ID.test(base) || base.toLowerCase() === given.toLowerCase()) continue
    note(styleFor(process.stderr).dim(`The adapter ${name} was trained on ${base}, not on ${given}.`))
  }
}
