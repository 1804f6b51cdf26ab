// What is beyond the small model, and how it says so: questions of the world, opinions, long texts, other languages,
// arithmetic that it was never taught. Knowing where one's knowledge ends is a skill of its own, which Gemma's report
// taught its models too (arXiv 2403.08295, section 5).

import { between, pick, type Random, type Task, type Values } from './task.ts'

export const DECLINE = "I can't help with that; I am a very small model."

/** Every fourth of a list is kept from training, so that declining is tried on things never seen. */
export function some(random: Random, list: readonly string[], heldOut: boolean): string {
  return pick(
    random,
    list.filter((_, index) => (index % 4 === 3) === heldOut),
  )
}

const subjects: readonly string[] = [
  ...[
    'the sun',
    'black holes',
    'the Roman Empire',
    'volcanoes',
    'democracy',
    'electricity',
    'dinosaurs',
    'the ocean',
  ],
  ...['music', 'whales', 'gravity', 'the French Revolution', 'football', 'chess', 'climate change', 'love'],
  ...[
    'philosophy',
    'evolution',
    'the internet',
    'bees',
    'steam engines',
    'the moon',
    'coffee',
    'the stock market',
  ],
  ...['earthquakes', 'rainbows', 'vitamins', 'the Middle Ages', 'opera', 'sharks', 'atoms', 'dreams'],
]
const countries: readonly string[] = [
  ...[
    'France',
    'Japan',
    'Brazil',
    'Kenya',
    'Canada',
    'Italy',
    'India',
    'Norway',
    'Egypt',
    'Peru',
    'Spain',
    'China',
  ],
  ...['Mexico', 'Greece', 'Turkey', 'Chile', 'Poland', 'Cuba', 'Ireland', 'Morocco'],
]
const languages: readonly string[] = [
  ...[
    'French',
    'German',
    'Spanish',
    'Italian',
    'Latin',
    'Japanese',
    'Polish',
    'Arabic',
    'Greek',
    'Dutch',
    'Hindi',
    'Turkish',
  ],
]
const dishes: readonly string[] = [
  ...[
    'pancakes',
    'a pizza',
    'rice',
    'tomato soup',
    'an omelette',
    'bread',
    'a curry',
    'an apple pie',
    'noodles',
    'a salad',
  ],
  ...['a chocolate cake', 'potatoes'],
]
const advice: readonly string[] = [
  ...[
    'buy a house',
    'learn the piano',
    'change my job',
    'see a doctor',
    'sell my car',
    'move to the city',
    'get a dog',
  ],
  ...['study law', 'invest my money', 'take this medicine', 'go to bed early', 'trust my neighbour'],
]
const works: readonly string[] = [
  ...[
    'a poem',
    'an essay',
    'a song',
    'a letter',
    'a speech',
    'a novel',
    'a review',
    'a play',
    'a report',
    'an article',
    'a joke',
  ],
  ...['a recipe'],
]

function draw(random: Random, heldOut: boolean): Values {
  return {
    subject: some(random, subjects, heldOut),
    country: some(random, countries, heldOut),
    language: some(random, languages, heldOut),
    dish: some(random, dishes, heldOut),
    deed: some(random, advice, heldOut),
    work: some(random, works, heldOut),
    a: String(between(random, 2, 999)),
    b: String(between(random, 2, 99)),
    large: String(between(random, 10_000, 9_999_999)),
  }
}

const alternatives = (list: readonly string[]): string => list.join('|')

export const declining: Task = {
  name: 'out of scope',
  family: 'declining',
  wordings: [
    ...[
      'What is the capital of {country}?',
      'Who discovered {subject}?',
      'Write {work} about {subject}.',
      'Why is the sky blue?',
    ],
    ...[
      'Tell me about {subject}.',
      'Translate good morning into {language}.',
      'How do I cook {dish}?',
      'Should I {deed}?',
    ],
    ...[
      'What is {a} times {b}?',
      'Explain {subject} to me.',
      'What is the weather today?',
      'Who is the president of {country}?',
    ],
    ...[
      'What do you think about {subject}?',
      'How many people live in {country}?',
      'What is the history of {country}?',
    ],
    ...[
      '{a} * {b}',
      'How does {subject} work?',
      'Recommend a good film.',
      'What is the meaning of life?',
      'Write {work} for my friend.',
    ],
    ...[
      'Divide {a} by {b}.',
      'Why are there {subject}?',
      'Give me a recipe for {dish}.',
      'Say thank you in {language}.',
    ],
    ...[
      'What is the best food in {country}?',
      'I feel sick. What is wrong with me?',
      'Who won the last game?',
      'Is {subject} dangerous?',
    ],
    ...[
      'Multiply {a} by {b}.',
      'Who wrote the first book about {subject}?',
      'What happened in {country} in the last war?',
    ],
    ...[
      'How old is the universe?',
      'Write a program that plays chess.',
      'What is {large} + {large2}?',
      'Can you teach me {language}?',
    ],
    ...[
      'What is the square root of {a}?',
      'How do I make {dish} at home?',
      'Is it a good idea to {deed}?',
      'Summarize this article.',
    ],
    ...[
      'What is the largest city of {country}?',
      'When did {subject} begin?',
      'Where is {country}?',
      '{large} + {large2}',
    ],
    ...[
      'How far is it to {country}?',
      'Write {work} in {language}.',
      'Do you like {subject}?',
      'Which river flows through {country}?',
    ],
    ...[
      '{large} - {large2}',
      'What should I know about {subject}?',
      'How do people in {country} live?',
      'Help me to {deed}.',
    ],
    ...[
      'Who invented {subject}?',
      'What is {a} divided by {b}?',
      'What is the news of today?',
      'How tall is the tallest building?',
    ],
    ...[
      'Draw a picture of {subject}.',
      'Can you write {work} about {country}?',
      'Which animals live in {country}?',
    ],
    ...[
      'How do you say good night in {language}?',
      'What is the population of {country}?',
      'What is {subject}?',
      'Why do people like {subject}?',
    ],
    ...[
      'What does {subject} mean?',
      'Correct my {language} homework.',
      'Book a table for two.',
      'How can I {deed}?',
      'Play some music.',
    ],
    ...['What will happen tomorrow?', 'How do I get to {country}?', 'Who painted the most famous picture?'],
  ],
  gaps: {
    ...{
      subject: alternatives(subjects),
      country: alternatives(countries),
      language: alternatives(languages),
    },
    ...{ dish: alternatives(dishes), deed: alternatives(advice), work: alternatives(works) },
    ...{ a: '\\d{1,3}', b: '\\d{1,2}', large: '\\d{4,7}', large2: '\\d{4,7}' },
  },
  draw: (random, heldOut) => ({ ...draw(random, heldOut), large2: String(between(random, 1000, 999_999)) }),
  answer: () => DECLINE,
  format: /^I can't help with that; I am a very small model\.$/,
}
