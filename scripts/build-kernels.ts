// Compiles the AssemblyScript kernels: once with relaxed SIMD, once for engines that have only the baseline.

import { fileURLToPath } from 'node:url'
import * as asc from 'assemblyscript/asc'

const root = fileURLToPath(new URL('..', import.meta.url))
const entry = 'src/backends/wasm/kernels.wasm.ts'

for (const variant of ['relaxed', 'baseline'] as const) {
  const output = `src/backends/wasm/kernels.${variant}.wasm`
  const options = [
    entry,
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
