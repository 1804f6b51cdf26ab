// Greetings said to somebody, and more ways to ask what the small model is: openings and names in many combinations, so that
// an opening that it has never seen beside a name is still taken for what it is.

import { some } from './declining.ts'
import { goodbye, hello, self, thanks } from './greetings.ts'
import { patterns, someThing } from './strange-words.ts'
import type { Task } from './task.ts'

const listed = (text: string): readonly string[] => text.trim().split(/\s*,\s*/)

const names = listed(`
  my friend, dear, friend, model, small model, tiny model, computer, dear model, robot, my dear, buddy, small one, Gemma,
  old friend, everyone, all of you, sir, madam, program, assistant, helper, clever model, dear friend, you, mate,
  dear computer, everybody, my little one, little friend, little one, little robot, stranger, team, professor, captain`)
const hellos = listed(`
  Hello, Hi, Hey, Good morning, Good evening, Good afternoon, Hiya, Hello again, Hi again, Howdy, Ahoy, Hey there, Welcome,
  Good to see you, Nice to see you, A good morning`)
const times = listed(`
  Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday, week, weekend, winter, summer,
  spring, autumn, Easter, Christmas`)
const byes = listed(`
  Good-bye, Bye, Bye bye, See you, See you soon, Good night, See you later, Farewell, So long, Take care, Until later,
  Good-bye for now, I am leaving now, See you tomorrow, I must go now, Until next time, See you next week, Sleep well, I am off,
  Bye for now`)
const manyThanks = listed(`
  Thank you, Thanks, Thanks a lot, Many thanks, Well done, Great, Good, Perfect, Thank you so much, Very good, Excellent,
  That was good, That is right, Fine, Wonderful, That helps`)
const beings = listed(`
  a bot, a computer, a program, a human being, a chatbot, a tool, a girl, a man, a woman, a toy, a language model, a large model,
  an assistant, a teacher, a ghost, a child, a calculator, a piece of software, a neural network, a friend, a stranger,
  a cat, a real person, the computer, a boy, somebody, an animal, an app, a website, a student, a game, a brain, a mind, an expert,
  a voice`)
const whats = listed(
  `Who are you, What are you, What is your name, Tell me about you, Who made you, How big are you`,
)
const wheres = listed(`
  talking, answering, writing, on the line, at the other end, behind this, in the computer, at the door, helping me, with me,
  typing, in the box`)

function greeting(
  like: Task,
  name: string,
  wordings: readonly string[],
  lists: Readonly<Record<string, readonly string[]>>,
): Task {
  return {
    ...{ name, family: 'greetings', wordings, answer: like.answer, format: like.format },
    gaps: Object.fromEntries(Object.entries(lists).map(([gap, list]) => [gap, list.join('|')])),
    draw: (random, heldOut) =>
      Object.fromEntries(Object.entries(lists).map(([gap, list]) => [gap, some(random, list, heldOut)])),
  }
}

export const helloTo: Task = greeting(
  hello,
  'hello to somebody',
  [
    ...['{hi}, {name}!', '{hi} {name}!', '{hi} to you, {name}!', '{hi}, {name}. How are you?'],
    ...[
      '{hi}, {name}, are you there?',
      'Good {time}!',
      'Good {time}, {name}!',
      'Happy {time}!',
      'A good {time} to you, {name}!',
    ],
    ...[
      '{hi} and good {time}!',
      '{hi}, {name}, here I am!',
      'How are you, {name}?',
      'How do you do, {name}?',
      'Nice {time}, {name}!',
    ],
    ...[
      'Have a good {time}, {name}!',
      '{hi}, how are you today, {name}?',
      'How is your {time}?',
      'Lovely {time}, {name}!',
    ],
  ],
  { hi: hellos, name: names, time: times },
)

export const thanksTo: Task = greeting(
  thanks,
  'thanks to somebody',
  [
    ...[
      '{thanks}, {name}!',
      '{thanks} {name}!',
      '{thanks} for that, {name}!',
      '{thanks}, that was quick!',
      '{thanks}, {name}, it works!',
    ],
    ...[
      '{thanks} for the answer!',
      '{thanks}, it works!',
      '{thanks} for your help!',
      '{thanks}, {name}, well said!',
    ],
    ...['{thanks}, that is what I wanted!'],
  ],
  { thanks: manyThanks, name: names },
)

export const goodbyeTo: Task = greeting(
  goodbye,
  'good-bye to somebody',
  [
    ...[
      '{bye}, {name}!',
      '{bye} {name}!',
      '{bye}, and thank you!',
      '{bye} then, {name}.',
      'Well then, {bye2}!',
    ],
    ...[
      'Right then, {bye2}!',
      'Well then, {bye2}, {name}!',
      '{bye}, it was nice!',
      '{bye}, I have to sleep.',
      '{bye}, {name}, it was nice!',
    ],
  ],
  {
    ...{ bye: byes, name: names },
    bye2: byes.map((text) => (text.startsWith('I ') ? text : text.toLowerCase())),
  },
)

const selfLists = { what: whats, name: names, being: beings, being2: beings, where: wheres }
const selfNamed: Task = greeting(
  self,
  'what it is, in many ways',
  [
    ...[
      '{what}, {name}?',
      'Are you {being}?',
      'Are you really {being}?',
      'Is this {being}?',
      'Are you {being} or {being2}?',
    ],
    ...[
      '{name}, are you {being}?',
      'Am I talking to {being}?',
      'Who is {where}?',
      'Do I talk to {being}?',
      'You are {being}, right?',
    ],
    ...[
      'Hello, are you {being}?',
      'Are you {being}, {name}?',
      'So are you {being}?',
      'Are you more than {being}?',
    ],
    ...['Tell me, are you {being}?'],
  ],
  selfLists,
)
/** What it might be is anything that there is. */
export const selfOf: Task = {
  ...selfNamed,
  gaps: {
    ...selfNamed.gaps,
    ...{ being: `${beings.join('|')}|${patterns.thing}`, being2: `${beings.join('|')}|${patterns.thing}` },
  },
  draw(random, heldOut) {
    const being = (): string => (random() < 0.5 ? some(random, beings, heldOut) : someThing(random, heldOut))
    return { ...selfNamed.draw(random, heldOut), being: being(), being2: being() }
  },
}
