// The Hugging Face cache on disk, in the layout that huggingface_hub and others share: blobs named by
// ETag, snapshots of links to them, refs from branches to commits. The layout is described at
// https://huggingface.co/docs/hub/local-cache. Knows nothing about the network.

import { randomUUID } from 'node:crypto'
import { copyFile, lstat, mkdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { sizeOf } from './cache-model.node.ts'
import { onDisk } from './download.node.ts'
import type { Environment } from './download-options.ts'
import { isSafeName } from './download-select.ts'

/** `~/…` with the home directory put in; other paths as they are. */
export function expandHome(path: string, env: Environment): string {
  return path === '~' || path.startsWith('~/') ? join(env.HOME || homedir(), path.slice(1)) : path
}

/** $HF_HOME, else $XDG_CACHE_HOME/huggingface, else ~/.cache/huggingface. */
export function hubHome(env: Environment): string {
  if (env.HF_HOME) return expandHome(env.HF_HOME, env)
  const caches = env.XDG_CACHE_HOME
    ? expandHome(env.XDG_CACHE_HOME, env)
    : join(env.HOME || homedir(), '.cache')
  return join(caches, 'huggingface')
}

/** $HF_HUB_CACHE (or its older name), else hub/ in the Hugging Face home. */
export function hubCacheDirectory(env: Environment): string {
  const set = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE
  return set ? expandHome(set, env) : join(hubHome(env), 'hub')
}

export interface HubFolder {
  readonly blobs: string
  readonly refs: string
  readonly snapshots: string
  readonly locks: string
}

/** The directories of one model, `models--org--name`. */
export function hubFolder(cache: string, id: string): HubFolder {
  const name = `models--${id.replaceAll('/', '--')}`
  const root = join(cache, name)
  return {
    blobs: join(root, 'blobs'),
    refs: join(root, 'refs'),
    snapshots: join(root, 'snapshots'),
    locks: join(cache, '.locks', name),
  }
}

/** The commit a revision stands for according to the cache; a revision that is a snapshot is its own commit. */
export async function cachedCommit(folder: HubFolder, revision: string): Promise<string | undefined> {
  const ref = await readFile(join(folder.refs, ...revision.split('/')), 'utf8').catch(() => undefined)
  const commit = ref?.trim()
  if (commit !== undefined)
    return commit !== '' && isSafeName(commit) && !commit.includes('/') ? commit : undefined
  return (await sizeOf(join(folder.snapshots, revision))) === undefined ? undefined : revision
}

/** Points a branch at a commit. A revision that is the commit needs no ref. */
export async function writeRef(folder: HubFolder, revision: string, commit: string): Promise<void> {
  if (revision === commit) return
  const path = join(folder.refs, ...revision.split('/'))
  await onDisk(path, async () => {
    await mkdir(dirname(path), { recursive: true })
    const temporary = `${path}.${randomUUID()}.tmp`
    await writeFile(temporary, commit)
    await rename(temporary, path)
  })
}

/** Whether a snapshot's file is a link to the blob of this name. */
export async function pointsTo(pointer: string, etag: string): Promise<boolean> {
  const target = await readlink(pointer).catch(() => undefined)
  return target !== undefined && basename(target) === etag && (await sizeOf(pointer)) !== undefined
}

/** Whether the path is a file of its own and no link. */
export async function isPlainFile(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined))?.isFile() ?? false
}

/**
 * Puts a blob into a snapshot: a relative link where links work; elsewhere the file itself, moved if the blob
 * is new, else copied (another snapshot may hold on to it). `link` is for tests.
 */
export async function linkBlob(
  blob: string,
  pointer: string,
  isNew: boolean,
  link: typeof symlink = symlink,
): Promise<void> {
  await onDisk(pointer, async () => {
    await mkdir(dirname(pointer), { recursive: true })
    const temporary = `${pointer}.${randomUUID()}.incomplete`
    try {
      await link(relative(dirname(pointer), blob), temporary)
    } catch {
      if (isNew) return rename(blob, pointer)
      await copyFile(blob, temporary)
    }
    await rename(temporary, pointer).catch(async (error: unknown) => {
      await rm(temporary, { force: true })
      throw error
    })
  })
}
