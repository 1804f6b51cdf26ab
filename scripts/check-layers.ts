// Holds the direction of dependencies in src/ (README.md, "The tree"): a folder may import only the folders
// listed for it; type-only imports count too. And it holds what may run in a browser: outside src/cli a file
// reaches Node's modules, or a file that does, only if its name says .node.ts. Tests are free.

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const src = fileURLToPath(new URL('../src', import.meta.url))

/** What each folder, or file at the top of src/, may import. `error.ts` is everybody's. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  'error.ts': [],
  tokenizer: [],
  weights: ['tokenizer'], // a GGUF holds a vocabulary: writing one, or a Hugging Face directory from one, needs it
  hub: [],
  micro: [],
  // hub: which files make a model
  'page-server': ['hub', 'built-in.ts'],
  'built-in.ts': [],
  'format.ts': [],
  data: ['tokenizer', 'weights'], // weights: how files are opened and their errors told, see below
  graph: [],
  ops: ['graph'],
  model: ['graph', 'ops'],
  backends: ['graph', 'ops', 'weights'], // weights: encodings only, see below
  generate: ['graph', 'ops', 'model', 'backends', 'tokenizer', 'weights'],
  'gemma.ts': ['ops', 'model', 'generate', 'tokenizer'],
  // hub: a recipe names a model as a user does; gemma.ts and load.node.ts: gradients of a loaded model, memory that is free
  train: [
    ...['graph', 'ops', 'model', 'backends', 'generate', 'tokenizer', 'weights', 'data', 'hub'],
    ...['gemma.ts', 'load.node.ts'],
  ],
}
/** The entry points and the program may use all of the above. */
const unbound = new Set([
  'index.ts',
  'index.web.ts',
  'inspect.ts',
  'inspect.web.ts',
  'files.web.ts',
  'machine.web.ts',
  'load.ts',
  'load-options.ts',
  'load.node.ts',
  'load.web.ts',
  'cli',
])

/** Single edges that the table does not allow, each with its reason. */
const exceptions: ReadonlyMap<string, string> = new Map([
  [
    'tokenizer/template.ts weights/checkpoint.ts',
    'the type of the tokenizer files that a checkpoint carries',
  ],
  ['tokenizer/tokenizer.ts weights/checkpoint.ts', 'the same type'],
  ['tokenizer/train/write-tokenizer.node.ts weights/atomic.node.ts', 'files that are whole or not there'],
  ['tokenizer/train/write-tokenizer.node.ts weights/source.node.ts', 'how errors of files are told'],
])

/** Of folders that may be imported only in part: the files that may. */
const onlyFiles: Readonly<Record<string, readonly string[]>> = {
  'backends weights': [
    ...['weights/checkpoint.ts', 'weights/decode-blocks.ts', 'weights/encodings.ts', 'weights/float16.ts'],
  ],
  'generate weights': ['weights/checkpoint.ts'],
  'data weights': ['weights/source.node.ts'],
}

/** Entry points of Node that keep a plain name because package.json gives browsers another one, or none. */
const nodeEntries = new Set(['index.ts', 'train/index.ts'])

interface Import {
  readonly from: string
  /** A file of src/, or the name of a package or of Node's module. */
  readonly to: string
  readonly typeOnly: boolean
  readonly dynamic: boolean
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(src, file), 'utf8')
  const pattern =
    /^(?:import|export)(\s+type)?\b(?:(?!^(?:import|export)\b)[^'";])*?\bfrom\s+'([^']+)'|^import\s+'([^']+)'|\bimport\('([^']+)'\)/gm
  return [...text.matchAll(pattern)].map((match) => {
    const target = match[2] ?? match[3] ?? match[4]!
    const to = target.startsWith('.') ? normalize(join(dirname(file), target)).replaceAll(sep, '/') : target
    return { from: file, to, typeOnly: match[1] !== undefined, dynamic: match[4] !== undefined }
  })
}

function partOf(file: string): string {
  return file.includes('/') ? file.slice(0, file.indexOf('/')) : file
}

/** What is wrong with the direction of one import, if anything. */
function wrongDirection({ from, to }: Import): string | undefined {
  if (!to.endsWith('.ts')) return undefined
  const [own, other] = [partOf(from), partOf(to)]
  if (own === other || other === 'error.ts' || unbound.has(own) || exceptions.has(`${from} ${to}`)) {
    return undefined
  }
  const may = allowed[own]
  if (may === undefined) return `src/${own} has no rule in scripts/check-layers.ts`
  if (!may.includes(other)) return `${own} must not know ${other}`
  const files = onlyFiles[`${own} ${other}`]
  return files === undefined || files.includes(to) ? undefined : `${own} may use only ${files.join(', ')}`
}

/** Whether an import would fail in a browser. Dynamic ones are guarded where they stand. */
function needsNode({ from, to, typeOnly, dynamic }: Import): boolean {
  if (typeOnly || dynamic || nodeEntries.has(from)) return false
  if (from.startsWith('cli/') || from.endsWith('.node.ts')) return false
  return to.startsWith('node:') || to.endsWith('.node.ts')
}

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll(sep, '/'))
  .filter((file) => file.endsWith('.ts') && !/\.test\.ts$|\.wasm\.ts$|(^|\/)testing\//.test(file))
const imports = files.flatMap(importsOf)
const faults = imports.flatMap((one) => {
  const direction = wrongDirection(one)
  return [
    ...(direction === undefined ? [] : [`src/${one.from} imports ${one.to}: ${direction}`]),
    ...(needsNode(one) ? [`src/${one.from} imports ${one.to}, but may run in a browser`] : []),
  ]
})
const edges = new Set(imports.map(({ from, to }) => `${from} ${to}`))
for (const edge of exceptions.keys()) {
  if (!edges.has(edge)) faults.push(`the exception "${edge}" is no longer needed`)
}

for (const fault of faults) process.stderr.write(`${fault}\n`)
process.stderr.write(
  `${files.length} files, ${imports.length} imports, ${faults.length} in the wrong direction\n`,
)
process.exit(faults.length === 0 ? 0 : 1)
