// All that the small model is taught to answer, in one list.

import { commands, idioms } from './cards.ts'
import { dateToIso, daysAfter, isoToDate, monthLength } from './dates.ts'
import { declining } from './declining.ts'
import { errands } from './errands.ts'
import { abilities, goodbye, hello, self, selfAgain, thanks } from './greetings.ts'
import { nameStyle, slug } from './names.ts'
import { moneyToWords, numberToWords, wordsToMoney, wordsToNumber } from './numbers.ts'
import { requests } from './requests.ts'
import { story } from './stories.ts'
import { addition, subtraction } from './sums.ts'
import type { FamilyName, Task } from './task.ts'
import { unitConversion } from './units.ts'

export const tasks: readonly Task[] = [
  ...[addition, subtraction, unitConversion, dateToIso, isoToDate, monthLength, daysAfter],
  ...[numberToWords, wordsToNumber, moneyToWords, wordsToMoney, nameStyle, slug, idioms, commands],
  ...[story, hello, thanks, goodbye, self, abilities, selfAgain, declining, requests, errands],
]

/** Families in which every question has one right answer. Stories have many; declining is counted for itself. */
export const closedFamilies: readonly FamilyName[] = [
  ...(['sums', 'units', 'dates', 'numbers', 'names', 'typescript', 'commands', 'greetings'] as const),
]
