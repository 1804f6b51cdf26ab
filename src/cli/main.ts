#!/usr/bin/env node
// The program `gemma`. Everything is in program.ts; this file only turns an outcome into an exit code.

import { enableCompileCache } from 'node:module'

// Halves the time to start from the second time on; where the directory for it cannot be written, nothing happens.
enableCompileCache()
const { runCommandLine } = await import('./program.ts')
process.exit(await runCommandLine(process.argv.slice(2)))
