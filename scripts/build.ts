// Builds dist/: the library and the program as JavaScript with types, and the kernels beside the module that
// loads them. Everything is made anew, so that files that are gone from src/ are gone from the package too.

import { spawnSync } from 'node:child_process'
import { chmod, copyFile, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const compiler = join(
  dirname(createRequire(import.meta.url).resolve('typescript/package.json')),
  'bin',
  'tsc',
)

await rm(join(root, 'dist'), { recursive: true, force: true })
const { status } = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
})
if (status !== 0) process.exit(status ?? 1)
const modules = ['kernels', 'kernels-training'].flatMap((name) =>
  ['relaxed', 'baseline'].map((variant) => `${name}.${variant}.wasm`),
)
for (const module of modules) {
  const file = join('backends', 'wasm', module)
  await copyFile(join(root, 'src', file), join(root, 'dist', file))
}
await chmod(join(root, 'dist', 'cli', 'main.js'), 0o755)
