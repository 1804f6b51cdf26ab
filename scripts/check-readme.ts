// Keeps README.md true: its examples in TypeScript and its commands run here as they are printed, with a tiny
// golden model in place of every model they name; its table of memory is what the library computes (--write
// puts it there). Needs dist/ (npm run build): examples see the package by its own name, as users do.

import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DEFAULT_CONTEXT, dtypeFor, memoryNeeded, WORKING_BYTES } from '../src/generate/load-model.ts'
import { parseConfig } from '../src/model/config.ts'
import { modelSizes } from '../src/model/configs.ts'
import { configIn, writeTestAdapter } from '../src/weights/testing/adapter-files.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const readme = join(root, 'README.md')
const model = join(root, 'test', 'data', 'models', 'gemma1-mqa')
const gguf = join(model, 'gguf', 'model-q8_0.gguf')
const PATIENCE_MS = 60_000

/** Tried elsewhere: what installs, tests, or starts things twice in .ci/run, what serves until Ctrl-C in its own test. */
const elsewhere = /^npm |^gemma web /

const titles: Readonly<Record<string, string>> = {
  '2b': 'Gemma 1 2B',
  '7b': 'Gemma 1 7B',
  '2-2b': 'Gemma 2 2B',
  '2-9b': 'Gemma 2 9B',
  '2-27b': 'Gemma 2 27B',
  '3-270m': 'Gemma 3 270M',
  '3-1b': 'Gemma 3 1B',
  '3-4b': 'Gemma 3 4B',
  '3-12b': 'Gemma 3 12B',
  '3-27b': 'Gemma 3 27B',
}

function memoryTable(): string {
  const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(1)
  const rows = modelSizes.map(({ name, config }) => {
    const parsed = parseConfig(config)
    const cells = (['bf16', 'int8', 'int4'] as const).map((dtype) => {
      const dtypeOf = ({ shape }: { readonly shape: readonly number[] }): ReturnType<typeof dtypeFor> =>
        dtypeFor(dtype, 'F32', shape.length)
      const { weights, kv } = memoryNeeded(parsed, dtypeOf, DEFAULT_CONTEXT)
      return { all: gigabytes(weights + kv + WORKING_BYTES), kv: gigabytes(kv) }
    })
    return `| ${titles[name] ?? name} | ${cells.map(({ all }) => all).join(' | ')} | ${cells[0]!.kv} |`
  })
  const head = ['| | `bf16` | `int8` | `int4` | of this, the cache |', '|---|---|---|---|---|']
  return [...head, ...rows].join('\n')
}

/** The blocks of one language, in order. */
function blocks(text: string, language: string): string[] {
  return [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter((match) => match[1] === language)
    .map((match) => match[2]!)
}

/** A folder in the checkout, so that 'gemma-ts' resolves to it, with the files that examples name. */
async function prepare(): Promise<{ folder: string; env: NodeJS.ProcessEnv }> {
  mkdirSync(join(root, '.scratch'), { recursive: true })
  const folder = mkdtempSync(join(root, '.scratch', 'readme-'))
  symlinkSync(gguf, join(folder, 'gemma-2b.gguf'))
  await writeTestAdapter(join(folder, 'my-adapter'), await configIn(model))
  const programs = join(folder, 'bin')
  mkdirSync(programs)
  const gemma = join(programs, 'gemma')
  writeFileSync(gemma, `#!/bin/sh\nexec '${process.execPath}' '${join(root, 'dist/cli/main.js')}' "$@"\n`)
  chmodSync(gemma, 0o755)
  return { folder, env: { ...process.env, PATH: `${programs}${delimiter}${process.env.PATH}` } }
}

/** The tiny model in place of the ones that would have to be downloaded. */
function withTinyModel(text: string): string {
  return text.replace(/(?<![\w/.])google\/gemma[\w.-]*/g, model)
}

const text = readFileSync(readme, 'utf8')
const marked = /(?<=<!-- memory -->\n)[\s\S]*?(?=<!-- \/memory -->)/
const table = `\n${memoryTable()}\n\n`
if (process.argv.includes('--write')) {
  writeFileSync(
    readme,
    text.replace(marked, () => table),
  )
  process.exit(0)
}

let failed = text.match(marked)?.[0] === table ? 0 : 1
if (failed > 0)
  process.stderr.write('README.md: the memory table is not what the library computes (--write)\n')

const { folder, env } = await prepare()
try {
  // An example that catches its errors would end well without them being noticed: it must have printed something.
  const attempt = (title: string, command: string, args: readonly string[], prints: boolean): void => {
    const ran = spawnSync(command, args, {
      cwd: folder,
      env,
      encoding: 'utf8',
      timeout: PATIENCE_MS,
      input: '',
    })
    const good = ran.status === 0 && (ran.stdout.length > 0 || !prints)
    process.stdout.write(`${good ? 'ok    ' : 'FAILED'} ${title}\n`)
    if (good) return
    failed++
    process.stderr.write(`${ran.error ?? ''}${ran.stdout}${ran.stderr}\n`)
  }
  blocks(text, 'ts').forEach((code, i) => {
    const file = join(folder, `example-${i + 1}.ts`)
    writeFileSync(file, withTinyModel(code))
    attempt(`example ${i + 1} in TypeScript`, process.execPath, [file], true)
  })
  const lines = blocks(text, 'sh').flatMap((block) => block.trimEnd().split('\n'))
  for (const line of lines) {
    if (!elsewhere.test(line)) attempt(line, 'bash', ['-euo', 'pipefail', '-c', withTinyModel(line)], false)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.exit(failed === 0 ? 0 : 1)
