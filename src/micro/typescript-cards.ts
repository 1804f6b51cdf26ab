// Idioms of TypeScript, written by hand: what one asks for, in two wordings, and the code. Each comes with what must
// stand before it and what it must give; a test compiles and runs them all.

import { arrays } from './idioms/arrays.ts'
import { functions } from './idioms/functions.ts'
import { type Idiom, idiomsOf } from './idioms/idiom.ts'
import { numbers } from './idioms/numbers.ts'
import { objects } from './idioms/objects.ts'
import { strings } from './idioms/strings.ts'
import { types } from './idioms/types.ts'

export const idiomCards: readonly Idiom[] = idiomsOf(
  [arrays, strings, objects, numbers, functions, types].flat(),
)
