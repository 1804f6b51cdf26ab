import { describe, expect, it } from 'vitest'
import { createTrainingLine, formatTrainingLine, type TrainingLineOptions } from './progress-line.ts'

const progress = {
  step: 120,
  steps: 1000,
  loss: 2.3,
  tokensPerSecond: 18_432.4,
  learningRate: 3e-4,
  gradientNorm: 0.8214,
}
const form = { loss: 2.3141, secondsLeft: 725, color: false, width: 200, bar: true }

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control characters
const plain = (text: string): string => text.replaceAll(/\u001b\[[0-9;]*m/g, '')

function screen(options: Partial<TrainingLineOptions> & { isTTY: boolean; columns?: number }): {
  readonly written: string[]
  readonly clock: { time: number }
  readonly line: ReturnType<typeof createTrainingLine>
} {
  const written: string[] = []
  const clock = { time: 0 }
  const { isTTY, columns } = options
  const stream = { isTTY, columns, write: (text: string) => written.push(text) }
  const line = createTrainingLine({ env: {}, now: () => clock.time, stream, ...options })
  return { written, clock, line }
}

describe('formatTrainingLine', () => {
  it('says everything where there is room', () => {
    expect(formatTrainingLine(progress, form)).toBe(
      'step 120 of 1,000  ██░░░░░░░░░░░░░░  12 %  loss 2.314  18,432 tokens/s  rate 3e−4  norm 0.8214  12 min 5 s left',
    )
  })

  it('leaves out what matters least until it fits', () => {
    for (let width = 1; width < 130; width++) {
      const line = formatTrainingLine(progress, { ...form, width })
      expect(line.length).toBeLessThanOrEqual(width)
      if (width >= 29) expect(line).toMatch(/^step 120 of 1,000 .*loss 2\.314/)
      expect(plain(formatTrainingLine(progress, { ...form, width, color: true }))).toBe(line)
    }
  })

  it('alarms at what is no number', () => {
    const broken = { ...progress, gradientNorm: Number.POSITIVE_INFINITY }
    const line = formatTrainingLine(broken, {
      ...form,
      loss: Number.NaN,
      secondsLeft: undefined,
      color: true,
    })
    expect(line).toContain('\u001b[1;31mloss NaN\u001b[22;39m')
    expect(line).toContain('\u001b[1;31mnorm ∞')
    expect(line).not.toContain('left')
  })

  it('takes a run without steps', () => {
    const none = { step: 0, steps: 0, loss: 1 }
    expect(formatTrainingLine(none, { ...form, loss: 1, secondsLeft: undefined, bar: false })).toBe(
      'step 0 of 0  0 %  loss 1.000',
    )
  })
})

describe('createTrainingLine', () => {
  it('redraws one line on a terminal, not too often', () => {
    const { written, clock, line } = screen({ isTTY: true, columns: 200 })
    for (let step = 1; step <= 100; step++) {
      clock.time = step * 20
      line.update({ step, steps: 200, loss: 2 })
    }
    expect(written).toHaveLength(20)
    expect(written.every((text) => text.startsWith('\r') && text.endsWith('\u001b[K'))).toBe(true)
    expect(plain(written.at(-1)!)).toContain('loss 2.000')
    expect(plain(written.at(-1)!)).toContain('2.1 s left')
    line.say('checkpoint written')
    expect(written.slice(-2)).toEqual(['\r\u001b[K', 'checkpoint written\n'])
    line.end()
    expect(written.at(-1)).toBe('checkpoint written\n')
  })

  it('writes plain lines now and then elsewhere, and the last one always', () => {
    const { written, clock, line } = screen({ isTTY: false, everySeconds: 10 })
    for (let step = 1; step <= 25; step++) {
      clock.time = step * 1000
      line.update({ step, steps: 25, loss: 1 })
    }
    line.end()
    line.end()
    expect(written.map((text) => text.slice(0, 10))).toEqual([
      'step 1 of ',
      'step 11 of',
      'step 21 of',
      'step 25 of',
    ])
    for (const text of written) expect(text).toMatch(/^[ -~−]*\n$/)
    expect(written[1]).toContain('14 s left')
  })

  it('smooths the loss over the last steps and forgets what was no number', () => {
    const { written, clock, line } = screen({ isTTY: false, everySeconds: 0 })
    for (const loss of [4, 2, Number.NaN, 2, ...Array<number>(400).fill(1)]) {
      clock.time += 1000
      line.update({ step: written.length + 1, steps: 500, loss })
    }
    const losses = written.map((text) => /loss (\S+)/.exec(text)![1])
    expect(losses.slice(0, 4)).toEqual(['4.000', '2.974', 'NaN', '2.633'])
    expect(losses.at(-1)).toBe('1.000')
  })

  it('follows the pace of the last minute, not that of the first', () => {
    const { written, clock, line } = screen({ isTTY: false, everySeconds: 0 })
    for (let step = 1; step <= 300; step++) {
      clock.time += step <= 100 ? 10_000 : 1000
      line.update({ step, steps: 400, loss: 1 })
    }
    expect(written[99]).toContain('50 min 0 s left')
    expect(written.at(-1)).toContain('1 min 40 s left')
  })

  it('heeds the wish for colours', () => {
    const colored = (env: Record<string, string>, isTTY: boolean): boolean => {
      const { written, line } = screen({ isTTY, columns: 200, env })
      line.update(progress)
      return written[0].includes('\u001b[1m')
    }
    expect(colored({}, true)).toBe(true)
    expect(colored({}, false)).toBe(false)
    expect(colored({ NO_COLOR: '1' }, true)).toBe(false)
    expect(colored({ NO_COLOR: '1', FORCE_COLOR: '1' }, true)).toBe(false)
    expect(colored({ FORCE_COLOR: '1' }, false)).toBe(true)
    expect(colored({ TERM: 'dumb' }, true)).toBe(false)
  })

  it('says nothing when it shall be quiet', () => {
    const { written, line } = screen({ isTTY: false, quiet: true })
    line.update(progress)
    line.say('x')
    line.end()
    expect(written).toEqual([])
  })
})
