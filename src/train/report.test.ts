import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { appendFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openMetrics } from './metrics.node.ts'
import type { MetricsWriter, StepRecord } from './metrics.ts'
import { writeReport } from './report.node.ts'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gemma-report-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

async function runOf(name: string, fill: (metrics: MetricsWriter) => void): Promise<string> {
  const run = join(directory, name)
  const metrics = await openMetrics(run)
  fill(metrics)
  await metrics.close()
  return run
}

const step = (number: number, change: Partial<StepRecord> = {}): StepRecord => ({
  step: number,
  loss: 1 + 5 / number,
  meanTokenAccuracy: 0.5,
  learningRate: 1e-3,
  gradientNorm: 0.5 + 1 / number,
  tokens: number * 1000,
  tokensPerSecond: 5000,
  seconds: number / 5,
  epoch: number / 100,
  ...change,
})

async function pageOf(runs: string | string[], out?: string): Promise<string> {
  const path = await writeReport(runs, out)
  const page = await readFile(path, 'utf8')
  assertWhole(page)
  return page
}

const VOID = new Set(['meta', 'path'])

/** Every element is closed where it was opened, every path can be drawn, nothing is fetched. */
function assertWhole(page: string): void {
  expect(Buffer.byteLength(page)).toBeLessThan(300_000)
  const open: string[] = []
  const bare = page.replaceAll(/(<(script|style)[^>]*>)[\s\S]*?(?=<\/\2>)/g, '$1')
  for (const [, close, name, attributes] of bare.matchAll(/<(\/?)([a-z][a-z0-9]*)([^<>]*)>/g)) {
    expect(attributes.replaceAll(/\s[a-z][a-z-]*(="[^"]*")?/gi, '').replace('/', '')).toBe('')
    expect(attributes.replaceAll(/="[^"]*"/g, '')).not.toMatch(/src|href|\son/)
    if (VOID.has(name)) continue
    if (close === '') open.push(name)
    else expect(open.pop()).toBe(name)
  }
  expect(open).toEqual([])
  for (const [, path] of page.matchAll(/ d="([^"]*)"/g)) expect(path).toMatch(/^[MmlhHV\d -]*$/)
  expect(page.slice(0, page.indexOf('<main>'))).not.toMatch(/<link|@import|url\(/)
  expect(page).not.toMatch(/<iframe|<img|<object/)
  const text = bare.replaceAll(/<[^>]*>/g, ' ')
  expect(text).not.toMatch(/undefined|\[object/)
}

const tile = (page: string, name: string): string | undefined =>
  new RegExp(`<dt>${name}</dt><dd class="value">([^<]*)</dd>`).exec(page)?.[1]

describe('writeReport', () => {
  it('says what a run has come to', async () => {
    const run = await runOf('whole', (metrics) => {
      metrics.start({
        stage: 'pretrain',
        steps: 200,
        parameters: 303_680,
        clip: 1,
        description: 'nano, 4 layers',
      })
      for (let number = 1; number <= 200; number++) {
        metrics.step(step(number))
        if (number % 50 === 0)
          metrics.evaluation({ step: number, loss: number === 100 ? 1.5 : 2, accuracy: 0.25 })
      }
      metrics.sample({ step: 200, prompt: 'The fox', text: ' sat by the river.' })
      metrics.end({ step: 200, reason: 'finished' })
    })
    await writeFile(join(run, 'recipe.resolved.yaml'), 'stage: pretrain\nseed: 7\n')
    expect(await writeReport(run)).toBe(join(run, 'report.html'))
    const page = await pageOf(run)
    expect(page).toContain('<h1>whole</h1>')
    expect(page).toContain('Pre-training · nano, 4 layers')
    expect(page).toContain('Finished · step 200 of 200')
    expect(tile(page, 'Training loss')).toBe('1.025') // 1 + 5/200, rounded, over steps 197 to 200
    expect(tile(page, 'Held-out loss')).toBe('2.000')
    expect(page).toContain('perplexity 7.389 · lowest 1.500 at step 100')
    expect(tile(page, 'Held-out accuracy')).toBe('25.0 %')
    expect(tile(page, 'Tokens')).toBe('200 k')
    expect(tile(page, 'Time')).toBe('40 s')
    expect(tile(page, 'Model')).toBe('304 k')
    expect(page).toContain('clipped above 1')
    for (const title of ['Loss', 'Accuracy', 'Gradient norm', 'Learning rate', 'Speed']) {
      expect(page).toContain(`<h3>${title}</h3>`)
    }
    expect(page).toMatch(/<title id="loss-title">Loss\. Training fell from .* Held out /)
    expect(page).toContain('<q dir="auto">The fox</q>')
    expect(page).toContain('sat by the river.')
    expect(page).toContain('stage: pretrain\nseed: 7</pre>')
    expect(page).toMatch(/<th scope="row">100<\/th><td>1\.050<\/td><td>1\.500<\/td>/)
  })

  async function longRun(count: number): Promise<string> {
    const run = join(directory, `long-${count}`)
    await mkdir(run)
    const lines: string[] = []
    for (let number = 1; number <= count; number++) {
      const noise = ((number * 7919) % 1009) / 1009
      lines.push(
        JSON.stringify({
          step: number,
          loss: number === Math.floor(count * 0.777) ? 9.875 : 2 + noise,
          mean_token_accuracy: noise,
          learning_rate: 1e-3,
          grad_norm: 1 + noise,
          tokens_per_second: 5000 * noise,
        }),
      )
      if (number % 100 === 0) lines.push(JSON.stringify({ step: number, eval_loss: 3 + noise }))
    }
    await writeFile(join(run, 'metrics.jsonl'), `${lines.join('\n')}\n`)
    return run
  }

  it('stays light and keeps spikes however long the run was', async () => {
    const page = await pageOf(await longRun(100_000))
    const [, faint] = /<path class="faint c0" d="M(\d+ \d+[^"]*)"/.exec(page)!
    let [x, y] = faint.split(/[lh]/)[0].split(' ').map(Number)
    let top = { x, y }
    for (const [, across, up] of faint.matchAll(/l(-?\d+) ?(-?\d+)/g)) {
      x += Number(across)
      y += Number(up)
      if (y < top.y) top = { x, y }
    }
    // The axis reaches from 2 to 9.875 and 4 % beyond.
    expect(top.x).toBeCloseTo(2000 * 0.777, -1)
    expect(top.y).toBeCloseTo(1000 * (0.04 / 1.08), -1)
  })

  it('stays light however many runs are compared', async () => {
    const run = await longRun(3000)
    await pageOf(Array<string>(8).fill(run), join(directory, 'eight.html'))
  })

  const each = (numbers: readonly number[], action: (number: number) => void): void => {
    for (const number of numbers) action(number)
  }
  const odd: [string, (metrics: MetricsWriter) => void][] = [
    ['nothing', () => {}],
    ['a start', (metrics) => metrics.start({ steps: 0 })],
    ['one step', (metrics) => metrics.step(step(1))],
    ['two steps', (metrics) => each([1, 2], (number) => metrics.step(step(number)))],
    ['only losses', (metrics) => each([1, 2, 3], (number) => metrics.step({ step: number, loss: 2 }))],
    [
      'equal losses',
      (metrics) => {
        for (let n = 1; n <= 50; n++) metrics.step(step(n, { loss: 2, gradientNorm: 1 }))
      },
    ],
    [
      'zeros',
      (metrics) => {
        for (let n = 1; n <= 5; n++)
          metrics.step({
            step: n,
            loss: 0,
            meanTokenAccuracy: 0,
            learningRate: 0,
            gradientNorm: 0,
            tokens: 0,
            tokensPerSecond: 0,
            seconds: 0,
            epoch: 0,
          })
      },
    ],
    [
      'no numbers',
      (metrics) => {
        for (let n = 1; n <= 5; n++)
          metrics.step(
            step(n, {
              loss: Number.NaN,
              gradientNorm: Number.NaN,
              tokensPerSecond: Number.POSITIVE_INFINITY,
            }),
          )
      },
    ],
    [
      'lonely numbers',
      (metrics) => {
        for (let n = 1; n <= 9; n++) metrics.step(step(n, n % 2 === 0 ? { loss: Number.NaN } : {}))
      },
    ],
    [
      'infinities',
      (metrics) => {
        for (let n = 1; n <= 9; n++)
          metrics.step(
            step(n, n > 5 ? { loss: Number.POSITIVE_INFINITY, gradientNorm: Number.NEGATIVE_INFINITY } : {}),
          )
      },
    ],
    [
      'enormous numbers',
      (metrics) => {
        for (let n = 1; n <= 9; n++)
          metrics.step(
            step(n, {
              loss: n * 1e307,
              gradientNorm: 10 ** (-30 * n),
              learningRate: -1e308,
              tokensPerSecond: 5e-324,
            }),
          )
      },
    ],
    ['one evaluation', (metrics) => metrics.evaluation({ step: 0, loss: 6 })],
    [
      'evaluations that fail',
      (metrics) =>
        each([1, 2, 3], (n) => metrics.evaluation({ step: n, loss: Number.NaN, accuracy: Number.NaN })),
    ],
    ['distant steps', (metrics) => each([1, 2 ** 40], (number) => metrics.step(step(number)))],
    [
      'very many sources',
      (metrics) => {
        for (let n = 0; n < 300; n++)
          metrics.evaluation({ step: n % 3, loss: n, source: `source ${n} ${'x'.repeat(3000)}` })
      },
    ],
  ]
  it.each(odd)('makes a whole page of %s', async (name, fill) => {
    const run = await runOf(name, fill)
    const page = await pageOf(run)
    expect(page).not.toMatch(/(left|top|width):(NaN|-?Infinity)/)
    for (const [axis] of page.matchAll(/(<i class="x"[^>]*>[^<]*<\/i>)+/g)) {
      const ticks = [...axis.matchAll(/>([^<]+)</g)].map(([, tick]) => tick)
      expect(new Set(ticks).size).toBe(ticks.length)
    }
    expect(page.includes('Nothing has been recorded yet.')).toBe(
      name === 'nothing' || name === 'a start' || name === 'evaluations that fail',
    )
    await pageOf(
      [run, await runOf('beside', (metrics) => metrics.step(step(1)))],
      join(directory, 'two.html'),
    )
  })

  it('tells of steps without a number, of failures and of lines it cannot read', async () => {
    const run = await runOf('failed', (metrics) => {
      metrics.start({ steps: 100 })
      for (let number = 1; number <= 10; number++)
        metrics.step(step(number, number > 8 ? { loss: Number.NaN } : {}))
      metrics.end({ step: 10, reason: 'failed', message: 'The loss is NaN.' })
    })
    await appendFile(join(run, 'metrics.jsonl'), 'x\n{"step":')
    const page = await pageOf(run)
    expect(page).toContain('Failed · step 10 of 100')
    expect(page).toContain(
      'The loss is NaN.\nThe loss was not a finite number at step 9, 10.\n2 lines of metrics.jsonl',
    )
    expect(page.match(/class="hole"/g)).toHaveLength(2)
    expect(tile(page, 'Training loss')).toBe('NaN')
  })

  it('shows a run that went on as one that still goes', async () => {
    const run = await runOf('resumed', (metrics) => {
      metrics.start({ steps: 20 })
      for (let number = 1; number <= 8; number++) metrics.step(step(number))
      metrics.end({ step: 8, reason: 'interrupted' })
    })
    expect(await pageOf(run)).toContain('Interrupted · step 8 of 20')
    const metrics = await openMetrics(run, { resumeAtStep: 8 })
    metrics.start({ steps: 20 })
    metrics.step(step(9))
    await metrics.close()
    const page = await pageOf(run)
    expect(page).toContain('Still going, or killed · step 9 of 20')
    expect(page).toContain('Training went on from step 8 (dotted).')
  })

  it('lets nothing that it is given become part of the page', async () => {
    const attack = `</script><script>alert(1)</script><img src=x onerror=alert(1)>"'\u0000\ud800<!--${'\u202e'}`
    const name = `run <b>&"'`
    const run = await runOf(name, (metrics) => {
      metrics.start({ stage: attack, description: attack, steps: 2 })
      metrics.step(step(1))
      metrics.evaluation({ step: 1, loss: 1, source: attack })
      metrics.sample({ step: 1, prompt: attack, text: attack })
      metrics.event(attack, 1, { [attack]: attack })
      metrics.end({ step: 1, reason: 'failed', message: attack })
    })
    await writeFile(join(run, 'recipe.resolved.yaml'), `a: ${attack}\nb: 1\n`)
    const other = await runOf('other', (metrics) => metrics.step(step(1)))
    await writeFile(join(other, 'recipe.resolved.yaml'), `a: 2\n${attack}: 3\n`)
    for (const runs of [run, [run, other]]) {
      const page = await pageOf(runs, join(directory, 'attack.html'))
      expect(page).not.toContain('<img')
      expect(page.match(/<script/g)).toHaveLength(2)
      expect(page.match(/<\/script/g)).toHaveLength(2)
      expect(page).not.toContain('run <b>')
      expect(page).toContain('run &lt;b&gt;&amp;&quot;&#39;')
      expect(page).toContain('&lt;/script&gt;')
      expect(page.includes('\u0000')).toBe(false)
    }
  })

  it('sets runs side by side', async () => {
    const runs = await Promise.all(
      [1, 2].map(async (number) => {
        const run = await runOf(`pair-${number}`, (metrics) => {
          for (let at = 1; at <= 30; at++) metrics.step(step(at, { loss: number + 5 / at }))
          metrics.evaluation({ step: 30, loss: number, source: 'stories' })
          if (number === 1) metrics.evaluation({ step: 30, loss: 9, source: 'code' })
        })
        await writeFile(
          join(run, 'recipe.resolved.yaml'),
          `output: ${run}\noptimizer:\n  name: adamw\n  beta2: 0.9${number}\n`,
        )
        return run
      }),
    )
    const path = await writeReport(runs)
    expect(path).toBe(join(runs[0], 'comparison.html'))
    const page = await pageOf(runs)
    expect(page).toContain('<h1>2 runs compared</h1>')
    expect(page).toContain('<th scope="row">optimizer.beta2</th><td>0.91</td><td>0.92</td>')
    expect(page).not.toContain('<th scope="row">output')
    expect(page).toContain('Held-out loss: stories')
    expect(page).toMatch(/pair-1<\/th>.*<td>1\.000 at 30<\/td>/)
    expect(page).toMatch(/class="line c1"/)
  })

  it('cuts texts that would make the page heavy', async () => {
    const run = await runOf('wordy', (metrics) => {
      metrics.step(step(1))
      for (let at = 0; at < 100; at++)
        metrics.sample({ step: 1, prompt: `${at % 10} ${'"'.repeat(5000)}`, text: '<'.repeat(100_000) })
    })
    await writeFile(join(run, 'recipe.resolved.yaml'), '&'.repeat(1_000_000))
    await pageOf(run)
  })

  it('refuses what is no run, no runs and too many', async () => {
    await expect(writeReport(join(directory, 'nowhere'))).rejects.toMatchObject({ code: 'file' })
    await expect(writeReport([])).rejects.toMatchObject({ code: 'usage' })
    await expect(writeReport(Array<string>(9).fill('x'))).rejects.toThrow('1 to 8 runs; 9 were given')
    const run = await runOf('fine', () => {})
    await expect(writeReport(run, join(directory, 'nowhere', 'x.html'))).rejects.toMatchObject({
      code: 'file',
    })
    await mkdir(join(run, 'recipe.resolved.yaml'))
    await expect(writeReport(run)).rejects.toMatchObject({ code: 'file' })
  })

  it('is a page whose script a browser runs', async (test) => {
    const chromium = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'].find(
      (path) => path !== undefined && existsSync(path),
    )
    if (chromium === undefined) return test.skip('there is no Chromium; name one in $CHROMIUM')
    const run = await runOf('browser', (metrics) => {
      for (let number = 1; number <= 30; number++) metrics.step(step(number))
    })
    const page = await pageOf(run, join(directory, 'page.html'))
    // A second script, which the page's policy must refuse.
    await writeFile(
      join(directory, 'page.html'),
      page.replace('</body>', '<script>document.body.title="ev"+"il"</script></body>'),
    )
    const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run']
    const profile = `--user-data-dir=${join(directory, 'profile')}`
    const url = pathToFileURL(join(directory, 'page.html')).href
    const shown = spawnSync(chromium, [...flags, profile, '--dump-dom', url], { encoding: 'utf8' })
    expect(shown.stdout.match(/class="plot"[^>]* tabindex="0"/g)).toHaveLength(5)
    expect(shown.stdout).not.toContain('title="evil"')
  })
})
