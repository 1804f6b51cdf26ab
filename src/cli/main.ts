#!/usr/bin/env node
// The program `gemma`. Everything is in program.ts; this file only turns an outcome into an exit code.

import { runCommandLine } from './program.ts'

process.exit(await runCommandLine(process.argv.slice(2)))
