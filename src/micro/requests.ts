// More that the small model cannot do: errands, things and people of daily life, units that it does not know.

import { DECLINE, some } from './declining.ts'
import { between, pick, type Task } from './task.ts'

const things: readonly string[] = [
  ...[
    'a bicycle',
    'green tea',
    'a train ticket',
    'an umbrella',
    'new shoes',
    'a telescope',
    'winter tyres',
    'a birthday cake',
  ],
  ...[
    'my glasses',
    'a phone',
    'the newspaper',
    'a used car',
    'fresh fish',
    'a camera',
    'a sofa',
    'two tickets',
    'a ladder',
  ],
  ...[
    'the washing machine',
    'a guitar',
    'warm gloves',
    'a passport',
    'the radio',
    'an old computer',
    'a fridge',
    'a suitcase',
  ],
  ...[
    'sun cream',
    'a tent',
    'the garage',
    'a bunch of flowers',
    'olive oil',
    'the piano',
    'a hotel room',
    'a flat',
    'cheese',
  ],
  ...['the remote control', 'a wedding dress'],
]
const people: readonly string[] = [
  ...[
    'my mother',
    'the doctor',
    'my boss',
    'a plumber',
    'my brother',
    'the police',
    'my aunt',
    'the school',
    'my landlord',
  ],
  ...['the dentist', 'my grandfather', 'the neighbours'],
]
const foreignUnits: readonly string[] = [
  'miles',
  'gallons',
  'acres',
  'knots',
  'parsecs',
  'carats',
  'bytes',
  'fathoms',
]
const units: readonly string[] = ['km', 'm', 'kg', 'g', 'l', 'hours', 'days', 'feet']

export const requests: Task = {
  name: 'other requests',
  family: 'declining',
  wordings: [
    ...['Order {thing} for me.', 'Where can I buy {thing}?', 'How much does {thing} cost?', 'Call {person}.'],
    ...['Find {thing} for me.', 'Write a message to {person}.', 'Convert {n} {from} to {foreign}.'],
    ...[
      'Remind me to call {person}.',
      'Is {thing} better than {thing2}?',
      'How many {foreign} are {n} {from}?',
    ],
    ...[
      'I am looking for {thing}.',
      'Do I need {thing}?',
      'What colour is {thing}?',
      'Compare {thing} and {thing2}.',
    ],
    ...[
      'Can you order {thing}?',
      'My friend wants {thing}.',
      'I lost {thing}. What now?',
      'What should I say to {person}?',
    ],
    ...[
      '{n} {from} in {foreign}',
      'Tell {person} that I am late.',
      'Describe {thing}.',
      'List ten kinds of food.',
    ],
    ...[
      'Where is {person}?',
      'Sing a song.',
      'How do I repair {thing}?',
      'Do you have {thing}?',
      'What does {person} want?',
    ],
    ...[
      'Open the door.',
      'Turn on the light.',
      'Do I have to call {person}?',
      'Why is {thing} so expensive?',
    ],
    ...[
      'Guess my age.',
      'Is it true?',
      'Are you happy?',
      'Why does {person} not answer?',
      'Repair {thing}.',
      'Sell {thing}.',
    ],
    ...['What is new?', 'Give me advice about {person}.', 'Where did I put {thing}?'],
  ],
  gaps: {
    ...{ thing: things.join('|'), thing2: things.join('|'), person: people.join('|') },
    ...{ foreign: foreignUnits.join('|'), from: units.join('|'), n: '\\d{1,3}' },
  },
  draw: (random, heldOut) => ({
    thing: some(random, things, heldOut),
    thing2: some(random, things, heldOut),
    person: some(random, people, heldOut),
    foreign: some(random, foreignUnits, heldOut),
    from: pick(random, units),
    n: String(between(random, 2, 99)),
  }),
  answer: () => DECLINE,
  format: /^I can't help with that; I am a very small model\.$/,
}
