// Very short stories under constraints: a hero, a thing, a place and a feeling. They are written by choices that
// somebody else makes, at random or in order, so that the same grammar gives training texts and their probability.

import { pick, type Random, type Task, type Values } from './task.ts'
import { feelings, gladFeelings, heroes, looks, objects, places } from './words.ts'

/** Text that is written, or a choice of one of so many equally likely words. */
export type StoryStep = string | { readonly words: number }
export type StoryWriting<Result = void> = Generator<StoryStep, Result, number>

export interface StoryConstraints {
  readonly hero: string
  readonly object: string
  readonly place: string
  readonly feeling: string
}

function* word<Item>(list: readonly Item[]): StoryWriting<Item> {
  return list[yield { words: list.length }]!
}

const openings: readonly ((hero: string, place: string) => string)[] = [
  (hero, place) => `Once upon a time a ${hero} lived ${place}.`,
  (hero, place) => `One morning a ${hero} was ${place}.`,
  (hero, place) => `Long ago there was a ${hero} who lived ${place}.`,
]
const glad: readonly ((hero: string, look: string, object: string) => string)[] = [
  (hero, look, object) => `The ${hero} found a ${look} ${object}.`,
  (hero, look, object) => `The ${hero} made a ${look} ${object}.`,
  (hero, look, object) => `There the ${hero} saw a ${look} ${object}.`,
]
const sad: readonly ((hero: string, look: string, object: string) => string)[] = [
  (hero, look, object) => `The ${hero} lost a ${look} ${object}.`,
  (hero, look, object) => `The ${hero} looked for a ${look} ${object}.`,
  (hero, look, object) => `Then the ${hero} forgot the ${look} ${object}.`,
]
const endings: readonly ((hero: string, friend: string) => string)[] = [
  (hero, friend) => `A ${friend} came by, and the ${hero} and the ${friend} became friends.`,
  (hero, friend) => `In the evening the ${hero} told a ${friend} about it and went home.`,
  (hero, friend) => `"Good night, ${friend}," said the ${hero}.`,
]

/** A story of four sentences; what it must hold is given, everything else is chosen. */
export function* storyText({ hero, object, place, feeling }: StoryConstraints): StoryWriting {
  yield (yield* word(openings))(hero, place)
  const isGlad = gladFeelings.includes(feeling)
  const event = yield* word(isGlad ? glad : sad)
  const look = yield* word(looks)
  yield ` ${event(hero, look, object)}`
  yield ` The ${hero} was ${feeling}, ${isGlad ? `because the ${object} was ${look}` : `without the ${object}`}. `
  const ending = yield* word(endings)
  const friend = yield* word(heroes.filter((other) => other !== hero))
  yield ending(hero, friend)
}

/** A story with what it must hold chosen as well. */
export function* anyStory(): StoryWriting {
  const hero = yield* word(heroes)
  const place = yield* word(places)
  const object = yield* word(objects)
  const feeling = yield* word(feelings)
  yield* storyText({ hero, object, place, feeling })
}

function tell(constraints: StoryConstraints, random: Random): string {
  const writing = storyText(constraints)
  let text = ''
  let chosen = 0
  for (;;) {
    const { value, done } = writing.next(chosen)
    if (done) return text
    if (typeof value === 'string') text += value
    else chosen = Math.floor(random() * value.words)
  }
}

const LEAST_SENTENCES = 3
const MOST_SENTENCES = 6

/** What a story lacks. */
function storyFault(values: Values, story: string): string | undefined {
  const missing = ['hero', 'object', 'place', 'feeling'].find((gap) => !story.includes(values[gap]!))
  if (missing !== undefined) return `the ${missing} is missing: ${values[missing]}`
  const sentences = story.match(/[^.!?]+[.!?]"?/g) ?? []
  if (sentences.length < LEAST_SENTENCES || sentences.length > MOST_SENTENCES) {
    return `${sentences.length} sentences, expected ${LEAST_SENTENCES} to ${MOST_SENTENCES}`
  }
  if (new Set(sentences.map((sentence) => sentence.trim())).size < sentences.length)
    return 'a sentence comes twice'
  return /[.!?]"?$/.test(story) ? undefined : 'the last sentence has no end'
}

export const story: Task = {
  name: 'story',
  family: 'stories',
  wordings: [
    ...['Write a story about a {hero}, a {object} and {feeling} feelings {place}.'],
    ...['Tell me a story of a {hero} {place} with a {object}. The {hero2} is {feeling}.'],
    ...['A {feeling} story about a {hero} and a {object} {place}, please.'],
    ...['Write a short story: a {hero}, a {object}, {place}, {feeling}.'],
    ...['Tell me a {feeling} story about a {hero} and a {object} {place}.'],
    ...['Make up a {feeling} story: a {hero} {place} and a {object}.'],
    ...['Story: {hero}, {object}, {place}, {feeling}'],
    ...['Please tell a story about a {feeling} {hero} {place} and a {object}.'],
    ...['I want a story about a {feeling} {hero}, a {object}, and it happens {place}.'],
    ...['Write a short story about a {feeling} {hero} and a {object} {place}.'],
  ],
  gaps: {
    ...{ hero: heroes.join('|'), hero2: heroes.join('|'), object: objects.join('|') },
    ...{ place: places.join('|'), feeling: feelings.join('|') },
  },
  draw(random) {
    const hero = pick(random, heroes)
    const constraints = {
      object: pick(random, objects),
      place: pick(random, places),
      feeling: pick(random, feelings),
    }
    return { hero, hero2: hero, ...constraints }
  },
  answer: (values, random) => tell(values as unknown as StoryConstraints, random),
  fault: storyFault,
  format: /^[A-Z"].*[.!?]"?$/,
}
