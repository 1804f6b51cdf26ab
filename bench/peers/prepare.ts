// Everything a comparison needs before it starts, made once and kept in a scratch folder: model files with random
// weights, a build of this package, and the other engines from the package registry (never dependencies of ours).

import { spawnSync } from 'node:child_process'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Model } from './prompt.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export const VERSIONS = { 'node-llama-cpp': '3.22.1', '@wllama/wllama': '3.8.1' } as const

/** Sizes in parameters of the shapes that are compared; they give the work of a token. */
export const SHAPES = {
  '2b': { vocabulary: 256_000, embedding: 524_288_000, others: 1_981_884_416 },
  small: { vocabulary: 32_000, embedding: 16_384_000, others: 30_417_408 },
} as const
export type Shape = keyof typeof SHAPES

/** A Blob of 2 GB or more is refused by the browser's engine. */
const PART_MEGABYTES = 1900

function node(args: readonly string[]): void {
  const { status, error } = spawnSync(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 2, 2] })
  if (status !== 0) throw new Error(`node ${args.join(' ')} failed.`, { cause: error })
}

/** Makes the model files that are not there yet. `inParts`: also in parts, where the file is too large for one. */
export async function prepareModel(
  folder: string,
  shape: Shape,
  type: string,
  inParts: boolean,
): Promise<Model> {
  await mkdir(folder, { recursive: true })
  const stem = `${shape}-${type}`
  const file = join(folder, `${stem}.gguf`)
  const make = ['scripts/make-model.ts', '--shape', shape, '--type', type, '--out', file]
  if (!(await exists(file))) node(make)
  const { vocabulary } = SHAPES[shape]
  const { size } = await stat(file)
  if (!inParts || size < PART_MEGABYTES * 1e6) return { file, parts: [file], vocabulary }
  const listed = async (): Promise<string[]> =>
    (await readdir(folder)).filter((name) => name.startsWith(`${stem}-0`)).sort()
  const whole = (names: readonly string[]): boolean =>
    names.length > 0 && Number(/-of-(\d+)/.exec(names[0]!)![1]) === names.length
  if (!whole(await listed())) node([...make, '--part-megabytes', String(PART_MEGABYTES)])
  return { file, parts: (await listed()).map((name) => join(folder, name)), vocabulary }
}

export interface Prepared {
  readonly folder: string
  /** Bytes on disk of all that has to be installed. */
  readonly bytes: number
}

/** Builds this package; what is measured is what is published, not the sources. The page does not count. */
export async function prepareOwn(scratch: string): Promise<Prepared> {
  const folder = join(scratch, 'gemma-ts')
  node(['scripts/build.ts', '--no-page', '--out', folder])
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  const { dependencies } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
    dependencies: Readonly<Record<string, string>>
  }
  const others = Object.keys(dependencies).map((name) => join('node_modules', name))
  const sizes = await Promise.all(
    [folder, ...['models', ...others].map((name) => join(ROOT, name))].map(folderBytes),
  )
  return { folder, bytes: sizes.reduce((a, b) => a + b, 0) }
}

/** Installs a package from the registry, unless it is there; undefined when it cannot be had. */
export async function preparePeer(
  scratch: string,
  name: keyof typeof VERSIONS,
): Promise<Prepared | undefined> {
  const folder = join(scratch, name.split('/').pop()!)
  const version = VERSIONS[name]
  if (!(await exists(join(folder, 'node_modules', name, 'package.json')))) {
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'package.json'), '{ "private": true }')
    const packages = [`${name}@${version}`]
    if (name === 'node-llama-cpp') packages.push(`${binaryPackage()}@${version}`)
    // Without the builds for graphics processors, which would be most of the bytes and are not measured.
    const flags = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--no-package-lock']
    const { status } = spawnSync('npm', ['install', ...flags, ...packages], {
      cwd: folder,
      stdio: ['ignore', 2, 2],
    })
    if (status !== 0) return undefined
  }
  return { folder, bytes: await folderBytes(join(folder, 'node_modules')) }
}

function binaryPackage(): string {
  const system =
    { linux: 'linux', darwin: 'mac', win32: 'win' }[process.platform as string] ?? process.platform
  const metal = process.platform === 'darwin' && process.arch === 'arm64' ? '-metal' : ''
  return `@node-llama-cpp/${system}-${process.arch}${metal}`
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined
}

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  const sizes = await Promise.all(
    files.map(async (file) => (await stat(join(file.parentPath, file.name))).size),
  )
  return sizes.reduce((a, b) => a + b, 0)
}
