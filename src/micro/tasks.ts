// All that the small model is taught to answer, in one list.

import { goodbyeTo, helloTo, selfOf, thanksTo } from './addressed.ts'
import { additionAgain, nameStyleAgain, subtractionAgain } from './again.ts'
import { commands, idioms } from './cards.ts'
import { dateToIso, daysAfter, isoToDate, monthLength } from './dates.ts'
import { declining } from './declining.ts'
import { errands } from './errands.ts'
import { abilities, goodbye, hello, self, selfAgain, thanks } from './greetings.ts'
import { nameStyle, slug } from './names.ts'
import { moneyToWords, numberToWords, wordsToMoney, wordsToNumber } from './numbers.ts'
import { requests } from './requests.ts'
import { story } from './stories.ts'
import { strangeDeeds, strangeThings, strangeUnits } from './strangers.ts'
import { addition, subtraction } from './sums.ts'
import type { FamilyName, Task } from './task.ts'
import { unitConversion } from './units.ts'

/**
 * For training only: more wordings, names and strange words than are asked for, so that what is asked for is learned more
 * broadly. They keep wordings from training like all tasks, which are measured beside the others; no mark counts them, so
 * that the questions that marks count stay the same.
 */
export const drills: readonly Task[] = [
  ...[additionAgain, subtractionAgain, nameStyleAgain, helloTo, thanksTo, goodbyeTo, selfOf],
  ...[strangeUnits, strangeThings, strangeDeeds],
]

export const tasks: readonly Task[] = [
  ...[addition, subtraction, unitConversion, dateToIso, isoToDate, monthLength, daysAfter],
  ...[numberToWords, wordsToNumber, moneyToWords, wordsToMoney, nameStyle, slug, idioms, commands],
  ...[story, hello, thanks, goodbye, self, abilities, selfAgain, declining, requests, errands],
  ...drills,
]

/** Families in which every question has one right answer. Stories have many; declining is counted for itself. */
export const closedFamilies: readonly FamilyName[] = [
  ...(['sums', 'units', 'dates', 'numbers', 'names', 'typescript', 'commands', 'greetings'] as const),
]
