// More wordings of what goes wrong in wordings that the small model has not seen: numbers and names that stand in the middle of a
// question, with words after them. They are tasks of their own, since the vocabulary is learned from the others.

import { nameStyle } from './names.ts'
import { addition, subtraction } from './sums.ts'
import type { Task } from './task.ts'

const again = (task: Task, wordings: readonly string[]): Task => ({
  ...task,
  name: `${task.name} again`,
  wordings,
})

export const additionAgain: Task = again(addition, [
  ...[
    'Tell me how much {a} + {b} is.',
    '{a} + {b} is what?',
    'The sum of {a} and {b}, please.',
    'If I add {a} and {b}, what do I get?',
  ],
  ...[
    'What does {a} + {b} make?',
    'How much do {a} and {b} make together?',
    'Take {a} and add {b} to it.',
    '{a} + {b}, please.',
  ],
  ...[
    'I have {a} and get {b} more. How many are there?',
    'What do {a} and {b} add up to?',
    'Say how much {a} plus {b} makes.',
  ],
  ...[
    '{a} and {b} are how much together?',
    'Show me how {a} + {b} is worked out.',
    'What is {a} + {b} in all?',
    'Add {b} to {a}, please.',
  ],
  ...[
    'Compute {a} + {b} for me.',
    'What comes out of {a} + {b}?',
    'Let me know what {a} plus {b} gives.',
    '{a} + {b} makes?',
  ],
  ...['Can you tell me what {a} + {b} gives?'],
])

export const subtractionAgain: Task = again(subtraction, [
  ...['Tell me how much {a} - {b} is.', '{a} - {b} is what?', 'The difference of {a} and {b}, please.'],
  ...[
    'If I take {b} from {a}, what is left?',
    'What does {a} - {b} make?',
    'How much is left of {a} without {b}?',
  ],
  ...[
    'Start with {a} and take {b} away.',
    '{a} - {b}, please.',
    'I have {a} and lose {b}. How many are left?',
  ],
  ...[
    'What remains when {b} is taken from {a}?',
    'Say how much {a} minus {b} makes.',
    '{a} less {b} is how much?',
  ],
  ...[
    'Show me how {a} - {b} is worked out.',
    'What is {a} - {b} in the end?',
    'Take {b} away from {a}, please.',
  ],
  ...[
    'Compute {a} - {b} for me.',
    'What comes out of {a} - {b}?',
    'Let me know what {a} minus {b} gives.',
    '{a} - {b} makes?',
  ],
  ...['Can you tell me what {a} - {b} gives?'],
])

export const nameStyleAgain: Task = again(nameStyle, [
  ...[
    'How does {name} look in {style}?',
    'The {style} of {name}, please.',
    'Put {name} into {style}.',
    '{name}: {style}',
  ],
  ...[
    'Use {style} for {name}.',
    'In {style}, {name} is what?',
    'Tell me {name} in {style}.',
    'I want {name} as {style}.',
  ],
  ...[
    'Name it {name}, but in {style}.',
    'Can you write {name} in {style}?',
    '{style} for {name}',
    'Rename {name} to {style}.',
  ],
  ...[
    'Show {name} in {style}, please.',
    'Call {name} by its {style} name.',
    'Say how {name} is written in {style}.',
  ],
])
