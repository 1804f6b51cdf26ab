// Builds dist/: the library and the program as JavaScript with types, the kernels beside the module that loads them,
// and the page. Everything is made anew, so that files that are gone from src/ are gone from the package too.
//
//   node scripts/build.ts [--out DIRECTORY] [--no-page]

import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { chmod, copyFile, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = fileURLToPath(new URL('..', import.meta.url))
const { values } = parseArgs({ options: { out: { type: 'string' }, 'no-page': { type: 'boolean' } } })
const out = resolve(values.out ?? join(root, 'dist'))
const compiler = join(
  dirname(createRequire(import.meta.url).resolve('typescript/package.json')),
  'bin',
  'tsc',
)

/** The compiler turns './file.ts' of imports into './file.js', but not those of workers and child processes. */
function renameFilesInUrls(folder: string): void {
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.js')) continue
    const text = readFileSync(join(folder, name), 'utf8')
    const renamed = text.replace(/(?<=\bnew URL\('\.[\w./-]+)\.ts(?=', )/g, '.js')
    if (renamed !== text) writeFileSync(join(folder, name), renamed)
  }
}

await rm(out, { recursive: true, force: true })
const { status } = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json', '--outDir', out], {
  cwd: root,
  stdio: 'inherit',
})
if (status !== 0) process.exit(status ?? 1)
renameFilesInUrls(out)
const modules = ['kernels', 'kernels-training'].flatMap((name) =>
  ['relaxed', 'baseline'].map((variant) => `${name}.${variant}.wasm`),
)
for (const module of modules) {
  const file = join('backends', 'wasm', module)
  await copyFile(join(root, 'src', file), join(out, file))
}
await chmod(join(out, 'cli', 'main.js'), 0o755)
if (!values['no-page']) {
  const { build } = await import('vite')
  await build({
    configFile: join(root, 'vite.config.ts'),
    logLevel: 'warn',
    build: { outDir: join(out, 'web') },
  })
}
