// Still more that the small model cannot do: whatever people do with things, in many combinations, so that what it has never
// heard of is declined rather than taken for something that it knows.

import { DECLINE, some } from './declining.ts'
import type { Task } from './task.ts'
import { capitalized } from './words.ts'

const verbs: readonly string[] = [
  ...[
    'buy',
    'cook',
    'paint',
    'carry',
    'clean',
    'borrow',
    'choose',
    'hide',
    'fetch',
    'lend',
    'weigh',
    'book',
    'bake',
  ],
  ...[
    'wash',
    'break',
    'steal',
    'photograph',
    'taste',
    'rent',
    'plant',
    'guess',
    'celebrate',
    'study',
    'cancel',
    'wear',
  ],
  ...[
    'admire',
    'burn',
    'print',
    'deliver',
    'fix',
    'invent',
    'heat',
    'pack',
    'watch',
    'collect',
    'order',
    'build',
    'ride',
  ],
  ...['smell', 'throw away'],
]
const things: readonly string[] = [
  ...[
    'a table',
    'the kitchen',
    'bananas',
    'a horse',
    'the bathroom',
    'a ticket',
    'old films',
    'the mail',
    'a sandwich',
  ],
  ...[
    'the roof',
    'a castle',
    'three eggs',
    'the moon',
    'a flag',
    'hot soup',
    'the stairs',
    'a wooden toy',
    'their wedding',
  ],
  ...[
    'wine',
    'the sea',
    'a tractor',
    'your homework',
    'some money',
    'a blanket',
    'the carpet',
    'a violin',
    'the weather',
  ],
  ...[
    'a bus',
    'cucumbers',
    'the library',
    'a diamond',
    'our holiday',
    'a magazine',
    'the door',
    'honey',
    'a bridge',
  ],
  ...[
    'the team',
    'a song',
    'this medicine',
    'a rocket',
    'the game',
    'two tomatoes',
    'my hair',
    'a parrot',
    'the bill',
  ],
  ...['winter', 'a museum', 'the alarm'],
]
const whens: readonly string[] = [
  ...[
    'today',
    'tomorrow',
    'at night',
    'for two',
    'with my sister',
    'in Paris',
    'before lunch',
    'again',
    'at home',
    'in spring',
  ],
  ...['without help', 'on Monday'],
]

export const errands: Task = {
  name: 'errands',
  family: 'declining',
  wordings: [
    ...['{Verb} {thing}.', 'Can you {verb} {thing}?', '{Verb} {thing} {when}.', 'Please {verb} {thing}.'],
    ...['I want you to {verb} {thing}.', 'Why do people {verb} {thing}?', 'When did you {verb} {thing}?'],
    ...['Who will {verb} {thing} {when}?', 'Should we {verb} {thing} {when}?', 'Do you ever {verb} {thing}?'],
    ...[
      'How do I {verb} {thing}?',
      'How long does it take to {verb} {thing}?',
      'I have to {verb} {thing} {when}.',
    ],
    ...[
      'What happens if I {verb} {thing}?',
      'How often should I {verb} {thing}?',
      'Show me how to {verb} {thing}.',
    ],
    ...['Where can I {verb} {thing} {when}?', 'I want to {verb} {thing}.', 'Help me {verb} {thing} {when}.'],
    ...[
      'Tell me how to {verb} {thing}.',
      'My aunt likes to {verb} {thing} {when}.',
      'Write about how to {verb} {thing}.',
    ],
    ...['Which {thing} do you mean?', 'Give me {thing}.', 'Is it safe to {verb} {thing}?'],
  ],
  gaps: {
    Verb: verbs.map(capitalized).join('|'),
    verb: verbs.join('|'),
    thing: things.join('|'),
    when: whens.join('|'),
  },
  draw(random, heldOut) {
    const verb = some(random, verbs, heldOut)
    const [thing, when] = [some(random, things, heldOut), some(random, whens, heldOut)]
    return { Verb: capitalized(verb), verb, thing, when }
  },
  answer: () => DECLINE,
  format: /^I can't help with that; I am a very small model\.$/,
}
