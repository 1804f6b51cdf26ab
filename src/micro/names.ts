// Names rewritten: the styles that programs write names in, and slugs of titles.

import { between, pick, type Random, type Task } from './task.ts'
import { capitalized, heroes, looks, nameWords, objects } from './words.ts'

/** How each style joins the words of a name, and what its names look like. */
export const styles: Readonly<
  Record<string, { readonly join: (words: readonly string[]) => string; readonly form: RegExp }>
> = {
  camelCase: {
    join: ([first, ...rest]) => `${first}${rest.map(capitalized).join('')}`,
    form: /^[a-z]+([A-Z][a-z]+)+$/,
  },
  snake_case: { join: (words) => words.join('_'), form: /^[a-z]+(_[a-z]+)+$/ },
  'kebab-case': { join: (words) => words.join('-'), form: /^[a-z]+(-[a-z]+)+$/ },
  PascalCase: { join: (words) => words.map(capitalized).join(''), form: /^([A-Z][a-z]+){2,}$/ },
  CONSTANT_CASE: { join: (words) => words.join('_').toUpperCase(), form: /^[A-Z]+(_[A-Z]+)+$/ },
}

/** Two or three different words. */
function someWords(random: Random): string[] {
  const words = new Set<string>()
  const count = between(random, 2, 3)
  while (words.size < count) words.add(pick(random, nameWords))
  return [...words]
}

/** The words of a name in any style, or of words with spaces between. */
function wordsOf(name: string): string[] {
  if (/[ _-]/.test(name)) return name.toLowerCase().split(/[ _-]/)
  return name
    .replace(/[A-Z]/g, (letter) => ` ${letter}`)
    .trim()
    .toLowerCase()
    .split(' ')
}

const styleNames = Object.keys(styles)
const plain = (words: readonly string[]): string => words.join(' ')
const known = new Set(nameWords)

export const nameStyle: Task = {
  name: 'case style',
  family: 'names',
  wordings: [
    ...[
      'Write {name} in {style}.',
      '{name} in {style}',
      'Convert {name} to {style}.',
      'What is {name} in {style}?',
    ],
    ...[
      'Change {name} to {style}.',
      'Rewrite {name} in {style}.',
      '{name} to {style}',
      'Make {name} {style}.',
    ],
    ...[
      'Turn {name} into {style}.',
      'Give {name} in {style}.',
      'How do I write {name} in {style}?',
      '{name} as {style}',
    ],
    ...['Please write {name} in {style}.', 'I need {name} in {style}.', 'Express {name} in {style}.'],
  ],
  gaps: { name: '[A-Za-z]+(?:[ _-][A-Za-z]+)*', style: styleNames.join('|') },
  draw(random) {
    const style = pick(random, styleNames)
    const words = someWords(random)
    // Half of the names come as plain words, the others in another style.
    if (random() < 0.5) return { name: plain(words), style }
    const from = pick(
      random,
      styleNames.filter((other) => other !== style),
    )
    return { name: styles[from]!.join(words), style }
  },
  answer({ name, style }) {
    const words = wordsOf(name!)
    const sound = words.length >= 2 && words.length <= 4 && words.every((word) => known.has(word))
    return sound ? styles[style!]!.join(words) : undefined
  },
  format: /^[A-Za-z]+([_-]?[A-Za-z]+)*$/,
}

/** 'The Red Fox and the Lamp!' */
function someTitle(random: Random): string {
  const look = capitalized(pick(random, looks))
  const hero = capitalized(pick(random, heroes))
  const object = capitalized(pick(random, objects))
  const mark = pick(random, ['', '', '!', '?', '.'])
  const title = pick(random, [
    `The ${look} ${object}`,
    `The ${hero} and the ${object}`,
    `A ${look} ${object} for the ${hero}`,
    `${look} ${object}, ${look} ${hero}`,
    `${hero} and ${object}`,
    `How the ${hero} Lost a ${object}`,
    `The ${hero}'s ${look} ${object}`,
  ])
  return title + mark
}

export function slugOf(title: string): string {
  return title
    .toLowerCase()
    .replace(/'/g, '')
    .replace(/[^a-z]+/g, '-')
    .replace(/^-|-$/g, '')
}

const titleWords = new Set([
  ...['the', 'a', 'and', 'for', 'how', 'lost', 's'],
  ...[...looks, ...heroes, ...objects].flatMap((word) => [word, `${word}s`]),
])

export const slug: Task = {
  name: 'slug',
  family: 'names',
  wordings: [
    ...[
      'Make a slug of "{title}".',
      'Slug for "{title}"',
      'Turn "{title}" into a slug.',
      'Write "{title}" as a slug.',
    ],
    ...[
      'What is the slug of "{title}"?',
      'Slug of "{title}"',
      'Give me a slug for "{title}".',
      'Convert "{title}" to a slug.',
    ],
    ...['"{title}" as a slug', 'Change "{title}" into a slug.'],
  ],
  gaps: { title: '[^"]+' },
  draw: (random) => ({ title: someTitle(random) }),
  answer({ title }) {
    const result = slugOf(title!)
    return result.split('-').every((word) => titleWords.has(word)) ? result : undefined
  },
  format: /^[a-z]+(-[a-z]+)*$/,
}
