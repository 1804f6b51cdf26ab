// Prose: short stories of a hero, a place, a thing and a feeling. What happens in the beginning decides words at
// the end, some fifty tokens later, so that counting neighbours does not suffice.

import { type Writing, way, word } from './grammar.ts'
import { allowed, type Split } from './split.ts'
import { events, heroes, looks, objects, places, times } from './words.ts'

/** Whether a hero never meets a thing in the training documents: true of a tenth of the pairs. */
export function isUnseenPair(hero: number, object: number): boolean {
  return (hero + 3 * object) % 10 === 0
}

const openings: readonly ((hero: string, home: string) => string)[] = [
  (hero, home) => `Once upon a time there was a ${hero} who lived ${home}.`,
  (hero, home) => `A ${hero} lived ${home}.`,
  (hero, home) => `Long ago, ${home}, there lived a ${hero}.`,
]

const remarks: readonly ((look: string, object: string) => string)[] = [
  (look, object) => `What a ${look} ${object}!`,
  (_look, object) => `Tell me about the ${object}!`,
  (look) => `I like ${look} things!`,
]

const endings: readonly ((hero: string, friend: string, home: string) => string)[] = [
  (hero, _friend, home) => `Then the ${hero} went home and slept ${home}.`,
  (hero, friend) => `So the ${hero} and the ${friend} became friends.`,
  (hero, friend) => `"Good night, ${friend}," said the ${hero}.`,
]

export function* story(split: Split): Writing {
  const hero = yield* word(heroes)
  const { name, home, food } = hero
  yield openings[yield* way(3, 2, 1)]!(name, home)
  if ((yield* way(1, 1)) === 0) yield ` Every day the ${name} ate ${food}.`

  yield ` One ${yield* word(times)}, ${yield* word(places)}, the ${name} `
  const glad = (yield* way(1, 1)) === 0
  const event = yield* word(events[glad ? 0 : 1]!)
  yield `${event.verb} a `
  const look = yield* word(looks)
  yield `${look} `
  const isKept = (object: string): boolean => isUnseenPair(heroes.indexOf(hero), objects.indexOf(object))
  const object = yield* word(allowed(split, objects, isKept))
  yield `${object}. The ${name} was ${yield* word(event.feelings)}`
  yield glad ? `, because the ${object} was ${look}.` : ` without the ${object}.`

  const friend = yield* word(heroes.filter((other) => other !== hero))
  yield ` A ${friend.name} who ate ${friend.food} came by. "`
  yield `${remarks[yield* way(2, 1, 1)]!(look, object)}" said the ${friend.name}. `
  yield endings[yield* way(2, 1, 1)]!(name, friend.name, home)
}
