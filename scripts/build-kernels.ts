// Compiles the AssemblyScript kernels: once with relaxed SIMD, once for engines that have only the baseline.

import { fileURLToPath } from 'node:url'
import * as asc from 'assemblyscript/asc'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = 'src/backends/wasm'
const builds = (['kernels', 'kernels-training'] as const).flatMap((name) =>
  (['relaxed', 'baseline'] as const).map((variant) => ({ name, variant })),
)

for (const { name, variant } of builds) {
  const output = `${folder}/${name}.${variant}.wasm`
  const options = [
    `${folder}/${name}.wasm.ts`,
    ...['--baseDir', root, '--outFile', output],
    ...['-O3', '--noAssert', '--runtime', 'stub'],
    ...['--enable', 'simd', '--enable', 'threads', '--enable', 'bulk-memory'],
    ...(variant === 'relaxed' ? ['--enable', 'relaxed-simd'] : []),
    // The true size of the memory is the host's matter.
    ...['--importMemory', '--sharedMemory', '--initialMemory', '1', '--maximumMemory', '65536'],
    // Tables of the mathematics library, above the run's inputs (runtime.wasm.ts).
    ...['--memoryBase', '20480'],
  ]
  const { error, stderr } = await asc.main(options)
  if (error) {
    process.stderr.write(stderr.toString())
    throw error
  }
}
