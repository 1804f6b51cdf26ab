// What a browser has to fetch: every file of the built page, and the modules that an import of gemma-ts brings, raw and
// compressed. The page's own script has a limit; kernels, which only their device fetches, are counted apart. Needs
// dist/ (npm run build).

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, extname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const MOST_PAGE_BYTES = 150e3
/** What is called a kernel must be little else. */
const MOST_WEBGPU_BYTES = 40e3
/** As published: with names and comments. A bundler makes about a third of it. */
const MOST_LIBRARY_BYTES = 250e3

const root = fileURLToPath(new URL('..', import.meta.url))
const page = join(root, 'dist', 'web')

interface Sized {
  readonly name: string
  readonly raw: number
  readonly packed: number
}

function fail(message: string): never {
  process.stderr.write(`web size: ${message}\n`)
  process.exit(1)
}

function sizeOf(name: string, bytes: Uint8Array): Sized {
  return { name, raw: bytes.length, packed: gzipSync(bytes, { level: 9 }).length }
}

function sum(name: string, files: readonly Sized[]): Sized {
  const total = (key: 'raw' | 'packed'): number => files.reduce((all, file) => all + file[key], 0)
  return { name, raw: total('raw'), packed: total('packed') }
}

function show(files: readonly Sized[]): void {
  const kilobytes = (bytes: number): string => (bytes / 1e3).toFixed(1).padStart(9)
  for (const { name, raw, packed } of files) {
    process.stdout.write(`${name.padEnd(48)}${kilobytes(raw)}${kilobytes(packed)}\n`)
  }
}

/** All modules that an entry may load, static and dynamic imports and workers; each file once. */
function graphOf(entry: string, seen = new Map<string, Sized>()): Map<string, Sized> {
  if (seen.has(entry)) return seen
  const bytes = readFileSync(entry)
  seen.set(entry, sizeOf(relative(root, entry), bytes))
  const imports = /(?:\bfrom|\bimport|\bimport\(|\bnew URL\()\s*'([^']+\.js|@[\w/-]+)'/g
  for (const [, target] of bytes.toString().matchAll(imports)) {
    const found = target!.startsWith('.')
      ? join(dirname(entry), target!)
      : fileURLToPath(import.meta.resolve(target!))
    graphOf(found, seen)
  }
  return seen
}

if (!existsSync(join(page, 'index.html'))) fail(`there is no page in ${page}: npm run build`)
const files = readdirSync(page, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name))
  .map((file) => sizeOf(relative(page, file), readFileSync(file)))
  .sort((a, b) => b.packed - a.packed)
// vite.config.ts gives chunks with WGSL this name.
const isWebGpu = ({ name }: Sized): boolean => /^assets[/\\]kernels-webgpu-[\w-]+\.js$/.test(name)
const scripts = files.filter((file) => extname(file.name) === '.js')
const own = sum(
  'scripts of the page without kernels',
  scripts.filter((file) => !isWebGpu(file)),
)
const webgpu = sum('kernels for WebGPU', scripts.filter(isWebGpu))
const library = [...graphOf(join(root, 'dist', 'index.web.js')).values()]
const imported = sum(`index.web.js and what it imports: ${library.length} modules`, library)

process.stdout.write(`${'kB'.padEnd(48)}${'raw'.padStart(9)}${'gzip'.padStart(9)}\n`)
show(files)
process.stdout.write('\n')
show([own, webgpu, imported])
const limits: readonly (readonly [Sized, number])[] = [
  [own, MOST_PAGE_BYTES],
  [webgpu, MOST_WEBGPU_BYTES],
  [imported, MOST_LIBRARY_BYTES],
]
for (const [{ name, packed }, most] of limits) {
  if (packed === 0) fail(`${name}: nothing was found`)
  if (packed > most) fail(`${name}: ${packed} bytes compressed, at most ${most}`)
}
