// gemma web as its users meet it: a process that serves the page until Ctrl-C.

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { MODEL } from './testing/golden.ts'
import { type Outcome, root, runCli, runProcess } from './testing/run-cli.ts'

let scratch: string

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'gemma-web-'))
})

afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** `npm install` builds it; a checkout that was not installed has none. */
const built = existsSync(join(root, 'dist/web/index.html'))

/** Runs until the first line is out, asks, and presses Ctrl-C. */
async function whileServing(args: readonly string[], ask: (line: string) => Promise<void>): Promise<Outcome> {
  let asked: Promise<void> | undefined
  const outcome = await runCli(['web', '--port', '0', ...args], {
    input: null,
    onOutput({ stdout }, child) {
      if (asked !== undefined || !stdout.includes('\n')) return
      asked = ask(stdout.trimEnd()).finally(() => child.kill('SIGINT'))
    },
  })
  await asked
  return outcome
}

test.skipIf(!built)('serves page and models until Ctrl-C (needs npm run build:web)', async () => {
  const { code, stderr } = await whileServing([MODEL, '--json'], async (line) => {
    const { address, port, models } = JSON.parse(line)
    expect(address).toBe(`http://127.0.0.1:${port}/`)
    expect(models.map(({ name }: { name: string }) => name)).toEqual(['gemma1-mqa', 'Gemma micro'])
    const page = await fetch(address)
    expect(page.headers.get('cross-origin-opener-policy')).toBe('same-origin')
    expect(await page.text()).toContain('<script type="module"')
    const listed = await (await fetch(new URL('/models/index.json', address))).json()
    expect(listed).toEqual(models)
    // Left open: ending does not wait for who is still reading.
    const open = await fetch(new URL(models[0].files.at(-1).url, address))
    expect(open.status).toBe(200)
  })
  expect([code, stderr]).toEqual([130, 'Ctrl-C ends it.\n'])
})

test.skipIf(!built)('prints the address for people; --open hands it to the browser', async () => {
  const programs = join(scratch, 'bin')
  mkdirSync(programs)
  const seen = join(scratch, 'seen')
  writeFileSync(
    join(programs, 'xdg-open'),
    `#!/bin/sh\nprintf '%s' "$1" >'${seen}.part' && mv '${seen}.part' '${seen}'\n`,
    {
      mode: 0o755,
    },
  )
  let address = ''
  const main = join(root, 'src/cli/main.ts')
  const { code, stdout } = await runProcess(
    process.execPath,
    [main, 'web', '--port', '0', '--open', '--quiet'],
    {
      input: null,
      env: { PATH: `${programs}:${process.env.PATH}` },
      onOutput({ stdout }, child) {
        if (address !== '' || !stdout.includes('\n')) return
        address = stdout.trimEnd()
        const timer = setInterval(() => {
          if (process.platform === 'linux' && !existsSync(seen)) return
          clearInterval(timer)
          child.kill('SIGINT')
        }, 20)
      },
    },
  )
  expect([code, stdout]).toEqual([130, `${address}\n`])
  expect(address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/)
})

test.skipIf(!built)('a port that is taken, and models that are none, are told in one line', async () => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as { port: number }
  const refused = await runCli(['web', '--port', String(port)])
  await new Promise((resolve) => taken.close(resolve))
  expect([refused.code, refused.stdout]).toEqual([2, ''])
  expect(refused.stderr).toBe(
    `gemma: Port ${port} is taken. Name another with --port, or 0 for any that is free.\n`,
  )
  const none = await runCli(['web', './none.gguf'])
  expect([none.code, none.stderr]).toEqual([1, expect.stringMatching(/^gemma: \.\/none\.gguf: no such file/)])
  const noModel = await runCli(['web', `${MODEL}/config.json`])
  expect([noModel.code, noModel.stderr]).toEqual([2, expect.stringMatching(/alone is no model/)])
})

test('help has examples', async () => {
  const { code, stdout } = await runCli(['web', '--help'])
  expect(code).toBe(0)
  expect(stdout).toContain('gemma web ./gemma-2b-it-q4.gguf --open')
})
