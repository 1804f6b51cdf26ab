// Questions that sound like those that the small model knows, about what it has never heard of: units, things, deeds. With these
// it learns to decline for what is strange in a question, not for the words around it.

import { DECLINE, some } from './declining.ts'
import {
  feasts,
  foreignUnits,
  madeUpWord,
  patterns,
  plural,
  someDeed,
  someNoun,
  someThing,
  strangePlaces,
  verbs,
} from './strange-words.ts'
import { between, pick, type Random, type Task, type Values } from './task.ts'
import { conversions } from './units.ts'
import { capitalized } from './words.ts'

function declined(name: string, wordings: readonly string[], gaps: Task['gaps'], draw: Task['draw']): Task {
  return {
    ...{ name, family: 'declining', wordings, gaps, draw },
    answer: () => DECLINE,
    format: /^I can't help with that; I am a very small model\.$/,
  }
}

const units = [...new Set(conversions.flatMap(({ from, to }) => [from, to]))]

export const strangeUnits: Task = declined(
  'strange units',
  [
    ...['Convert {n} {unit} to {foreign}.', 'Convert {n} {foreign} to {unit}.', '{n} {unit} to {foreign}'],
    ...['{n} {foreign} in {unit}', 'Change {n} {unit} into {foreign}.', 'How many {unit} are {n} {foreign}?'],
    ...[
      'What is {n} {unit} in {foreign}?',
      'What is {n} {foreign} in {unit}?',
      'Give {n} {unit} in {foreign}.',
    ],
    ...[
      'Express {n} {foreign} in {unit}.',
      'How many {foreign} are there in {n} {unit}?',
      '{n} {foreign} to {unit}',
    ],
    ...[
      'Turn {n} {unit} into {foreign}.',
      'Please convert {n} {foreign} into {unit}.',
      'Tell me {n} {foreign} in {unit}.',
    ],
    ...[
      'How much is {n} {unit} in {foreign}?',
      'Can you convert {n} {unit} to {foreign}?',
      'How many {foreign} has a {unit}?',
    ],
    ...['I have {n} {foreign}. How many {unit} is that?', 'How many {foreign} make {n} {unit}?'],
  ],
  {
    ...{ n: '\\d{1,4}', unit: units.join('|') },
    foreign: `${foreignUnits.join('|')}|${patterns.madeUp}s`,
  },
  (random, heldOut) => ({
    n: String(between(random, 2, pick(random, [20, 99, 999, 9999]))),
    unit: pick(random, units),
    foreign: random() < 0.4 ? `${madeUpWord(random, heldOut)}s` : some(random, foreignUnits, heldOut),
  }),
)

function drawStrange(random: Random, heldOut: boolean): Values {
  return {
    verb: someDeed(random, heldOut),
    Verb: capitalized(some(random, verbs, heldOut)),
    thing: someThing(random, heldOut),
    thing2: someThing(random, heldOut),
    things: plural(someNoun(random, heldOut)),
    place: some(random, strangePlaces, heldOut),
    feast: some(random, feasts, heldOut),
    n: String(between(random, 2, 999)),
  }
}

const strangeGaps: Task['gaps'] = {
  ...{ thing: patterns.thing, thing2: patterns.thing, things: patterns.things },
  ...{ verb: patterns.deed, Verb: verbs.map(capitalized).join('|') },
  ...{ place: strangePlaces.join('|'), feast: feasts.join('|'), n: '\\d{1,3}' },
}

export const strangeThings: Task = declined(
  'strange things',
  [
    ...[
      'How many {things} do I need?',
      'What is {thing}?',
      'Who has {thing}?',
      'Where do {things} come from?',
    ],
    ...[
      'What does {thing} look like?',
      'Where is {thing}?',
      'Why is {thing} {place}?',
      'How old is {thing}?',
    ],
    ...[
      'What are the best {things}?',
      'How heavy is {thing}?',
      'Can {things} swim?',
      'Which {things} are the best?',
    ],
    ...[
      'I need {thing}.',
      'I have {thing}. What can I do?',
      'Is there {thing} {place}?',
      'Do {things} sleep?',
    ],
    ...['{thing}', '{things} {place}', 'Who made {thing}?', 'What about {thing}?', 'How much is {thing}?'],
    ...[
      'How many {things} are there {place}?',
      'Tell me a joke about {things}.',
      'Write something about {thing}.',
    ],
    ...[
      'I saw {thing} {place}.',
      'Bring me {thing}.',
      'Add {thing} and {thing2}.',
      'Which is larger, {thing} or {thing2}?',
    ],
    ...[
      'How much does {thing} weigh?',
      'Spell {thing} backwards.',
      'Change {thing} into {thing2}.',
      '{n} {things}',
    ],
    ...[
      'What are {things} good for?',
      '{thing} or {thing2}?',
      'Show me {thing}.',
      'Write a poem about {things}.',
    ],
    ...[
      'Give {thing} to me {place}.',
      'Turn {thing} into {thing2}.',
      'How do {things} live?',
      'Did you see {thing} {place}?',
    ],
    ...[
      'Who wants {thing}?',
      'When is {feast}?',
      'How many days are left until {feast}?',
      'Which day is {feast}?',
    ],
    ...[
      'What date is {feast}?',
      'Who wrote {thing}?',
      'Was {thing} ever {place}?',
      'My {n} {things} are {place}.',
    ],
  ],
  strangeGaps,
  drawStrange,
)

export const strangeDeeds: Task = declined(
  'strange deeds',
  [
    ...[
      '{Verb} {thing}!',
      'How do I {verb} {thing} {place}?',
      'How can I {verb} {thing}?',
      'Can I {verb} {thing} {place}?',
    ],
    ...['Teach me to {verb} {thing}.', 'Why should I {verb} {thing}?', 'What do I need to {verb} {thing}?'],
    ...[
      'Do you know how to {verb} {thing}?',
      'When should I {verb} {thing}?',
      'Is it easy to {verb} {thing} {place}?',
    ],
    ...[
      'I cannot {verb} {thing}.',
      'Who can {verb} {thing}?',
      'Show me the way to {verb} {thing}.',
      'Write how to {verb} {thing}.',
    ],
    ...[
      'How much does it cost to {verb} {thing}?',
      'Which command do I use to {verb} {thing}?',
      '{verb} {thing}',
    ],
    ...[
      'How do I {verb} {thing} in TypeScript?',
      'Write TypeScript to {verb} {thing}.',
      'May we {verb} {thing} {place}?',
    ],
    ...[
      'TypeScript: {verb} {thing}',
      'How do I {verb} {thing} with gemma?',
      'Please {verb} {thing} {place}.',
    ],
    ...[
      'Will you {verb} {thing}?',
      'Who wants to {verb} {thing}?',
      'You should {verb} {thing}.',
      'Did anybody {verb} {thing}?',
    ],
    ...['Let us {verb} {thing} {place}.', 'I would like to {verb} {thing}.', 'It is time to {verb} {thing}.'],
    ...[
      '{Verb} {thing} and {thing2}.',
      '{Verb} {thing} {place}, please.',
      'My friends {verb} {thing}.',
      'Never {verb} {thing}.',
    ],
    ...['Give me help to {verb} {thing}.'],
  ],
  strangeGaps,
  drawStrange,
)
