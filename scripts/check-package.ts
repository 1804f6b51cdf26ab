// Packs the library, looks at what is in the package, installs it into an empty project as a user would, and
// uses it there: every export from plain JavaScript and from TypeScript, and the program. Takes the Nodes to
// try as arguments (paths); without any, the one that runs this. Needs dist/ (npm run build).

import { execFileSync, spawn } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

// The small model takes 1.3 MB of either.
const MOST_PACKED_BYTES = 2300e3
const MOST_UNPACKED_BYTES = 4400e3

const root = fileURLToPath(new URL('..', import.meta.url))
const model = join(root, 'test', 'data', 'models', 'gemma1-mqa')
const nodes = process.argv.length > 2 ? process.argv.slice(2) : [process.execPath]

interface Packed {
  readonly filename: string
  readonly size: number
  readonly unpackedSize: number
  readonly files: readonly { readonly path: string }[]
}

interface Manifest {
  readonly version: string
  readonly bin: Readonly<Record<string, string>>
  readonly exports: Conditions
}

/** A file, or what package.json gives under each condition. */
type Conditions = string | { readonly [condition: string]: Conditions }

function run(command: string, args: readonly string[], cwd: string): string {
  return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
}

function fail(message: string): never {
  process.stderr.write(`package: ${message}\n`)
  process.exit(1)
}

function filesOf(entry: Conditions): string[] {
  return typeof entry === 'string' ? [entry] : Object.values(entry).flatMap(filesOf)
}

function checkContents({ files, size, unpackedSize }: Packed, manifest: Manifest): void {
  const paths = new Set(files.map(({ path }) => path))
  const wanted = [
    ...['README.md', 'LICENSE', 'MODEL.md', 'package.json'],
    ...['relaxed', 'baseline'].flatMap((variant) =>
      ['kernels', 'kernels-training'].map((name) => `dist/backends/wasm/${name}.${variant}.wasm`),
    ),
    ...[
      'dist/backends/wasm/worker.js',
      'dist/web/index.html',
      'models/micro/micro.gguf',
      'models/micro/tokenizer.model',
      'models/micro/README.md',
    ],
    ...Object.values(manifest.bin),
    ...filesOf(manifest.exports),
  ].map((path) => path.replace(/^\.\//, ''))
  const missing = wanted.filter((path) => !paths.has(path))
  if (missing.length > 0) fail(`missing: ${missing.join(', ')}`)
  const expected =
    /^(dist\/[\w/.-]+\.(js|d\.ts|wasm)|dist\/web\/(index\.html|assets\/[\w.-]+)|models\/micro\/[\w.-]+|README\.md|LICENSE|MODEL\.md|package\.json)$/
  const stray = [...paths].filter((path) => !expected.test(path) || /\.test\.|\/testing\//.test(path))
  if (stray.length > 0) fail(`does not belong into the package: ${stray.join(', ')}`)
  const kilobytes = (bytes: number): string => `${Math.round(bytes / 1000)} kB`
  process.stdout.write(
    `${paths.size} files, ${kilobytes(size)} packed, ${kilobytes(unpackedSize)} unpacked ` +
      `(at most ${kilobytes(MOST_PACKED_BYTES)} and ${kilobytes(MOST_UNPACKED_BYTES)})\n`,
  )
  if (size > MOST_PACKED_BYTES || unpackedSize > MOST_UNPACKED_BYTES) fail('too large')
}

/** A user's file in TypeScript: the types of every export must stand on their own, in strict mode. */
const typedUse = `import { Gemma, type GenerateOptions } from 'gemma-ts'
import { createTokenizer } from 'gemma-ts/tokenizer'
import { lossAndGradients, type Recipe, train } from 'gemma-ts/train'
import { bytesSource } from 'gemma-ts/weights'
import { openCheckpoint } from 'gemma-ts/weights/node'
import { Gemma as GemmaInBrowser } from 'gemma-ts/web'

const options: GenerateOptions = { maxTokens: 3 }
export const learn = (recipe: Recipe): Promise<{ readonly steps: number }> => train(recipe, { restart: true })
export async function use(): Promise<number> {
  await using gemma = await Gemma.load('model', { dtype: 'int8' })
  let count = 0
  for await (const { token } of gemma.generate('Hello', options)) count += token
  await (await Gemma.load()).dispose()
  // @ts-expect-error there is no such precision
  await Gemma.load('model', { dtype: 'int5' })
  const load: (source: string) => Promise<unknown> = GemmaInBrowser.load
  return count + load.length + train.length + lossAndGradients.length + createTokenizer.length + bytesSource.length + openCheckpoint.length
}
`

function checkTypes(project: string): void {
  writeFileSync(join(project, 'use.ts'), typedUse)
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  for (const module of ['nodenext', 'preserve']) {
    const flags = ['--noEmit', '--strict', '--target', 'es2024', '--module', module, '--types', '']
    const libraries = ['--lib', 'es2024,esnext.disposable,esnext.iterator,dom,dom.asynciterable']
    run(process.execPath, [compiler, ...flags, ...libraries, 'use.ts'], project)
  }
  process.stdout.write('types: every export, strict, without the types of Node\n')
}

function checkProgram(project: string, node: string, version: string): void {
  const program = join(project, 'node_modules', '.bin', 'gemma')
  const said = run(node, [program, '--version'], project).trim()
  if (said !== version) fail(`gemma --version prints ${said}, expected ${version}`)
  const flags = ['--prompt', 'Hello', '--max-tokens', '8', '--json', '--quiet']
  const answer = JSON.parse(run(node, [program, 'generate', model, ...flags], project)) as {
    usage: { completionTokens: number }
  }
  if (answer.usage.completionTokens !== 8) fail(`gemma generate made ${JSON.stringify(answer)}`)
  const sum = run(node, [program, 'generate', 'What is 384 + 257?', '--quiet'], project)
    .trim()
    .split('\n')
    .at(-1)
  if (sum !== '384+257=641') fail(`the model of the package says ${sum}`)
}

/** The page of the package, and the small model where the page looks for it; the package holds it only once. */
async function checkPage(project: string, node: string): Promise<void> {
  const program = join(project, 'node_modules', '.bin', 'gemma')
  const child = spawn(node, [program, 'web', '--port', '0', '--json', '--quiet'], {
    cwd: project,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const patience = setTimeout(() => child.kill('SIGKILL'), 30_000)
  try {
    let line = ''
    for await (const text of child.stdout.setEncoding('utf8')) {
      line += text
      if (line.endsWith('\n')) break
    }
    const { address } = JSON.parse(line) as { address: string }
    const page = await (await fetch(address)).text()
    const script = /<script[^>]* src="([^"]+)"/.exec(page)?.[1]
    if (script === undefined) fail('the page has no script')
    for (const path of [script, 'models/micro/micro.gguf']) {
      const { ok, status, headers } = await fetch(new URL(path, address), { method: 'HEAD' })
      const isolated = headers.get('cross-origin-embedder-policy') === 'require-corp'
      if (!ok || !isolated) fail(`gemma web answers ${status} for ${path}${isolated ? '' : ', not isolated'}`)
    }
  } finally {
    clearTimeout(patience)
    child.kill('SIGINT')
  }
}

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest
const project = mkdtempSync(join(tmpdir(), 'gemma-package-'))
try {
  const [packed] = JSON.parse(
    run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', project], root),
  ) as Packed[]
  checkContents(packed!, manifest)
  writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }\n')
  const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts']
  run('npm', ['install', ...flags, join(project, packed!.filename)], project)
  checkTypes(project)
  copyFileSync(join(root, 'scripts', 'package-smoke.js'), join(project, 'smoke.js'))
  for (const node of nodes) {
    process.stdout.write(run(node, ['smoke.js', model], project))
    checkProgram(project, node, manifest.version)
    await checkPage(project, node)
  }
} finally {
  rmSync(project, { recursive: true, force: true })
}
