// Runs the real program in a process of its own, or at a terminal of its own, for tests.

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const root: string = fileURLToPath(new URL('../../..', import.meta.url))
const main = fileURLToPath(new URL('../main.ts', import.meta.url))

export interface Outcome {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  /** Text for stdin; null leaves stdin open. */
  readonly input?: string | Uint8Array | null
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Hears everything on stdout and stderr so far, each time more comes. */
  readonly onStart?: (child: ChildProcess) => void
  readonly onOutput?: (all: { stdout: string; stderr: string }, child: ChildProcess) => void
}

/** A program that takes longer than this has hung. */
const LONGEST = 30_000

/** `gemma ...args`, in the root of the repository. */
export function runCli(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return runProcess(process.execPath, [main, ...args], options)
}

export function runProcess(
  command: string,
  args: readonly string[],
  { input = '', env = {}, onStart, onOutput }: RunOptions = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const plain = { NO_COLOR: undefined, FORCE_COLOR: undefined, DEBUG: undefined }
    const child = spawn(command, args, { cwd: root, env: { ...process.env, ...plain, ...env } })
    const output = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8')
      child[name].on('data', (text: string) => {
        output[name] += text
        onOutput?.(output, child)
      })
    }
    child.on('error', reject)
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      const tail = JSON.stringify(output.stdout.slice(-300) + output.stderr.slice(-300))
      reject(new Error(`${args.join(' ')} has not ended; it wrote …${tail}`))
    }, LONGEST)
    // A program that ends without reading its input is no error.
    child.stdin.on('error', () => {})
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, ...output })
    })
    if (input !== null) child.stdin.end(input)
    onStart?.(child)
  })
}

/** util-linux's `script` gives a process a terminal. */
export const hasTerminal: boolean = existsSync('/usr/bin/script') && process.platform === 'linux'

export interface Step {
  /** Waits until this comes after what the last step waited for … */
  readonly waitFor: string | RegExp
  /** … then types this. */
  readonly type: string
}

/** `gemma ...args` at a terminal. stdout has what the terminal shows. */
export function runAtTerminal(
  args: readonly string[],
  steps: readonly Step[],
  env: Readonly<Record<string, string | undefined>> = {},
): Promise<Outcome> {
  const quoted = [process.execPath, main, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`)
  const waiting = [...steps]
  let from = 0
  return runProcess('/usr/bin/script', ['-qfec', quoted.join(' '), '/dev/null'], {
    input: null,
    env: { TERM: 'xterm', ...env },
    onOutput({ stdout }, child) {
      for (let step = waiting[0]; step !== undefined; step = waiting[0]) {
        const found = find(stdout, step.waitFor, from)
        if (found === undefined) return
        from = found
        waiting.shift()
        child.stdin?.write(step.type)
      }
    },
  })
}

/** Where the first match from `from` on ends. */
function find(text: string, wanted: string | RegExp, from: number): number | undefined {
  const rest = text.slice(from)
  const match = typeof wanted === 'string' ? wanted : wanted.exec(rest)?.[0]
  const at = match === undefined ? -1 : rest.indexOf(match)
  return match === undefined || at < 0 ? undefined : from + at + match.length
}
