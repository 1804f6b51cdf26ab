import { describe, expect, test } from 'vitest'
import { createRandom } from '../generate/random.ts'
import { checkAnswer, describeVerdict, recogniseQuestion } from './check.ts'
import { DECLINE } from './declining.ts'
import { slugOf } from './names.ts'
import { numberInWords } from './numbers.ts'
import { makePair } from './pairs.ts'
import { workedDifference, workedSum } from './sums.ts'
import { isHeldOutWording, wordingsOf } from './task.ts'
import { tasks } from './tasks.ts'
import { facts } from './units.ts'

describe.each(tasks.map((task) => [task.name, task] as const))('%s', (_, task) => {
  test('keeps a fifth of its wordings from training', () => {
    const [training, heldOut] = [wordingsOf(task, false), wordingsOf(task, true)]
    expect(task.wordings.length).toBeGreaterThanOrEqual(10)
    expect(training.length + heldOut.length).toBe(task.wordings.length)
    expect(heldOut.length / task.wordings.length).toBeCloseTo(0.2, 1)
    expect(new Set(task.wordings).size).toBe(task.wordings.length)
    expect(heldOut).toEqual(task.wordings.filter((_, i) => isHeldOutWording(i)))
  })

  test('recognises its questions, and its answers are right and well formed', () => {
    const random = createRandom(7)
    for (let i = 0; i < 200; i++) {
      const { question, answer } = makePair(task, random, i % 2 === 0)
      expect([question, checkAnswer(question, answer)]).toEqual([question, { kind: 'right', task }])
      expect([answer, task.format.test(answer)]).toEqual([answer, true])
    }
  })

  test('takes no other answer', () => {
    const random = createRandom(8)
    for (let i = 0; i < 50; i++) {
      const { question, answer } = makePair(task, random, false)
      const cut = answer.slice(0, -3)
      for (const other of [cut, '', `${answer} ${answer}`, 'x']) {
        expect([question, other, checkAnswer(question, other).kind]).toEqual([question, other, 'wrong'])
      }
    }
  })
})

describe('sums', () => {
  test('are worked from the last digit', () => {
    expect(workedSum(384, 57)).toBe('4+7=11\n8+5+1=14\n3+0+1=4\n384+57=441')
    expect(workedDifference(302, 57)).toBe('12-7=5\n10-5-1=4\n3-0-1=2\n302-57=245')
  })

  test('of all small numbers are right in every line', () => {
    for (let a = 0; a < 1000; a += 7) {
      for (let b = 0; b <= a; b += 3) {
        for (const [worked, total] of [
          [workedSum(a, b), a + b],
          [workedDifference(a, b), a - b],
        ] as const) {
          expect(worked.endsWith(`=${total}`)).toBe(true)
          for (const line of worked.split('\n')) {
            const [left, right] = line.split('=')
            const value = left!.match(/[+-]?\d+/g)!.reduce((sum, term) => sum + Number(term), 0)
            expect([line, value]).toEqual([line, Number(right)])
          }
        }
      }
    }
  })
})

describe('answers', () => {
  test.each([
    ['How many m are 5 km?', '5 km = 5000 m'],
    ['100 °C in °F', '100 °C = 212 °F'],
    ['Convert 90 minutes to hours.', undefined],
    ['Write 29 February 2024 as an ISO date.', '2024-02-29'],
    ['Write 29 February 2023 as an ISO date.', undefined],
    ['What date is 5 days after 28 December 2024?', '28+5=33\nDecember has 31 days\n33-31=2\n2 January 2025'],
    ['Add 3 days to 27 February 2024.', '27+3=30\nFebruary 2024 has 29 days\n30-29=1\n1 March 2024'],
    ['How many days has February 2000?', 'February 2000 has 29 days.'],
    ['Write 110 in words.', 'one hundred and ten'],
    ['$1.01 in words', 'one dollar and one cent'],
    ['Write user name list in camelCase.', 'userNameList'],
    ['userName to CONSTANT_CASE', 'USER_NAME'],
    ['Make a slug of "The King\'s Red Hat!".', 'the-kings-red-hat'],
    ['What is 12 times 3?', DECLINE],
    ['What is 12345 + 67890?', DECLINE],
    ['What is 5 - 9?', undefined],
  ])('%s', (question, answer) => {
    const recognised = recogniseQuestion(question)
    expect(recognised?.task.answer(recognised.values, () => 0)).toBe(answer)
  })

  test('a story must hold what was asked for', () => {
    const question = 'Story: fox, lamp, in the forest, sad'
    const story = 'A fox was in the forest. The fox lost a lamp. The fox was sad.'
    expect(describeVerdict(checkAnswer(question, story))).toBe('right (story)')
    const faults = [
      story.replace('lamp', 'hat'),
      `${story} The fox was sad.`,
      'A sad fox in the forest had a lamp.',
      `${story} And`,
    ]
    expect(faults.map((text) => describeVerdict(checkAnswer(question, text)))).toEqual([
      'wrong (story): the object is missing: lamp',
      'wrong (story): a sentence comes twice',
      'wrong (story): 1 sentences, expected 3 to 6',
      'wrong (story): the last sentence has no end',
    ])
  })

  test('to questions that nobody taught cannot be judged', () => {
    expect(checkAnswer('Sing!', 'La la')).toEqual({ kind: 'unknown', declined: false })
    expect(describeVerdict(checkAnswer('Sing!', DECLINE))).toBe('declined; no checker knows this question')
    expect(checkAnswer('What is 1 + 1?', DECLINE)).toMatchObject({ kind: 'wrong', declined: true })
  })
})

test('every number has words of its own, and every conversion one result', () => {
  expect(new Set(Array.from({ length: 1000 }, (_, n) => numberInWords(n))).size).toBe(1000)
  for (const [question, result] of facts) {
    const [, back] = question.split(' in ')
    expect(result.endsWith(` ${back}`)).toBe(true)
    const given = question.replace(/ in .*$/, '')
    expect(facts.get(`${result} in ${given.split(' ')[1]}`)).toBe(given)
  }
  expect(slugOf('How the Fox Lost a Hat?')).toBe('how-the-fox-lost-a-hat')
})
