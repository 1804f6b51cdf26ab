import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createStopText } from './stop-text.ts'

/** What streaming in these parts shows, and after how many parts it stopped (all: never). */
function stream(parts: readonly string[], stops: readonly string[]): { text: string; stopped: boolean } {
  const stop = createStopText(stops)
  let text = ''
  for (const part of parts) {
    const pushed = stop.push(part)
    text += pushed.text
    if (pushed.stopped) return { text, stopped: true }
  }
  return { text: text + stop.flush(), stopped: false }
}

/** The definition: the text up to the place where, reading on, the first stop string is complete. */
function cut(text: string, stops: readonly string[]): { text: string; stopped: boolean } {
  for (let end = 0; end <= text.length; end++) {
    const complete = stops.filter((stop) => text.slice(0, end).endsWith(stop))
    if (complete.length > 0) {
      return { text: text.slice(0, end - Math.max(...complete.map((s) => s.length))), stopped: true }
    }
  }
  return { text, stopped: false }
}

const letters = fc.string({ unit: fc.constantFrom('a', 'b', '€'), maxLength: 30 })
const stopStrings = fc.array(
  fc.string({ unit: fc.constantFrom('a', 'b', '€'), minLength: 1, maxLength: 4 }),
  { maxLength: 3 },
)

test('letter by letter, streaming shows what cutting the whole text gives', () => {
  fc.assert(
    fc.property(letters, stopStrings, (text, stops) => {
      expect(stream([...text], stops)).toEqual(cut(text, stops))
    }),
    { numRuns: 2000 },
  )
})

test('in parts of any length, one stop string cuts at its first occurrence', () => {
  fc.assert(
    fc.property(
      fc.array(letters),
      fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 4 }),
      (parts, stop) => {
        const whole = parts.join('')
        const at = whole.indexOf(stop)
        const wanted = at < 0 ? { text: whole, stopped: false } : { text: whole.slice(0, at), stopped: true }
        expect(stream(parts, [stop])).toEqual(wanted)
      },
    ),
    { numRuns: 2000 },
  )
})

test('holds back no more than could become a stop string', () => {
  const stop = createStopText(['END'])
  expect(stop.push('the E')).toEqual({ text: 'the ', stopped: false })
  expect(stop.push('NOUGH, E')).toEqual({ text: 'ENOUGH, ', stopped: false })
  expect(stop.push('N')).toEqual({ text: '', stopped: false })
  expect(stop.push('D and more')).toEqual({ text: '', stopped: true })
})
