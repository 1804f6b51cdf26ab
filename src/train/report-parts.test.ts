import { describe, expect, it } from 'vitest'
import { escapeText, html, shorten } from './report-markup.ts'
import {
  formatCount,
  formatNumber,
  formatPercent,
  formatSeconds,
  formatShortCount,
} from './report-numbers.ts'
import { flattenRecipe, recipeDifferences } from './report-recipe.ts'

describe('markup', () => {
  it('escapes what is put in, but not what is markup', () => {
    expect(html`<b title="${'"'}">${'<'}${html`<i></i>`}${[html`1`, undefined]}${2}</b>`.markup).toBe(
      '<b title="&quot;">&lt;<i></i>12</b>',
    )
    expect(escapeText('a\u0007b\ud800c\n')).toBe('a\ufffdb\ufffdc\n')
    expect(shorten('abc😀', 4)).toBe('abc\ufffd…')
    expect(shorten('abc', 3)).toBe('abc')
  })
})

describe('numbers', () => {
  it('are written as people read them', () => {
    expect([0, 1, 12, 999.4, 1000, 123_456, 2.5e9, 1e15].map(formatShortCount)).toEqual([
      '0',
      '1',
      '12',
      '999.4',
      '1 k',
      '123 k',
      '2.5 B',
      '1000 T',
    ])
    expect([0, 9.94, 59.4, 59.6, 3599, 3600, 200_000, Number.NaN].map(formatSeconds)).toEqual([
      '0.0 s',
      '9.9 s',
      '59 s',
      '1 min 0 s',
      '59 min 59 s',
      '1 h 0 min',
      '2 d 7 h',
      'NaN',
    ])
    expect([0, 3e-4, 0.001, 1.23456, -2, 12_345, 1e9, Number.NaN, -1 / 0].map(formatNumber)).toEqual([
      '0',
      '3e−4',
      '0.001',
      '1.235',
      '−2',
      '12,345',
      '1e9',
      'NaN',
      '−∞',
    ])
    expect(formatCount(1234.6)).toBe('1,235')
    expect([0.4567, Number.NaN].map(formatPercent)).toEqual(['45.7 %', 'NaN'])
  })
})

describe('recipes', () => {
  it('are taken apart by their indentation', () => {
    const text = [
      '# a comment',
      'stage: sft',
      'optimizer:',
      '  name: adamw',
      'data:',
      '  sources:',
      '    - path: a.jsonl',
      '      weight: 1',
      '    - path: b.jsonl',
      '  "tooLong": skip',
      'targets:',
      '- q_proj',
      '- v_proj',
    ].join('\n')
    expect(Object.fromEntries(flattenRecipe(text))).toEqual({
      stage: 'sft',
      'optimizer.name': 'adamw',
      'data.sources[0].path': 'a.jsonl',
      'data.sources[0].weight': '1',
      'data.sources[1].path': 'b.jsonl',
      'data."tooLong"': 'skip',
      'targets[0]': 'q_proj',
      'targets[1]': 'v_proj',
    })
    expect(recipeDifferences(['a: 1\nb: 2', 'a: 1\nb: 3', undefined])).toEqual([
      ['a', ['1', '1', '–']],
      ['b', ['2', '3', '–']],
    ])
  })
})
