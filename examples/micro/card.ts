// The model card of a route: what was learned from what, how, and what came of it. Everything in it is measured or read
// from the recipes; nothing is written by hand but the words between.

import type { Evaluation } from './evaluate.ts'
import { type Mark, marksOf } from './marks.ts'
import { type Gap, overall, type Share } from './measure.ts'
import type { Route } from './routes.ts'

/** What one training run took. */
export interface RunFigures {
  readonly steps: number
  readonly tokens: number
  readonly seconds: number
  readonly parameters: number
  /** The recipe with every default, as YAML. */
  readonly recipe: string
}

export interface CardFigures {
  /** By file. */
  readonly documents: Readonly<Record<string, { readonly records: number; readonly tokens: number }>>
  readonly conversations: Readonly<Record<string, { readonly records: number; readonly tokens: number }>>
  readonly bytesPerToken: number
  readonly pretrain: RunFigures
  /** Fine-tuning, course by course. */
  readonly courses: readonly RunFigures[]
  /** Where the last course alone was run: what the others were, and the file in 8 bits that it went on from. */
  readonly origin?: { readonly recipes: readonly string[]; readonly sha256: string }
  readonly evaluation: Evaluation
}

const percent = ({ share, low, high }: Share): string =>
  `${(100 * share).toFixed(1)} % [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`
const count = (number: number): string => Math.round(number).toLocaleString('en')
const nats = (value: number): string => value.toFixed(4)

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

function marksTable(marks: readonly Mark[]): string {
  return table(
    ['', 'wanted', 'reached', ''],
    marks.map(({ name, wanted, reached, met }) => [name, wanted, reached, met ? 'met' : '**missed**']),
  )
}

function gapTable(gaps: Readonly<Record<string, Gap>>): string {
  const row = (name: string, { tokens, loss, entropy }: Gap): string[] => [
    ...[name, count(tokens), nats(loss), nats(entropy), nats(loss - entropy)],
  ]
  const all = overall(Object.values(gaps))
  return table(
    ['documents', 'tokens', 'loss', 'entropy', 'above it'],
    [...Object.entries(gaps).map(([kind, gap]) => row(kind, gap)), row('all', all)],
  )
}

function answersTable({ base, tuned }: Evaluation): string {
  const precisions = ['f32', 'bf16', 'int8', 'int4'] as const
  const names = Object.keys(tuned.f32.families)
  return table(
    ['right answers', 'base, f32', ...precisions.map((precision) => `tuned, ${precision}`)],
    [
      ...names.map((name) => [
        name,
        base.f32.families[name] === undefined ? '' : percent(base.f32.families[name]),
        ...precisions.map((precision) => percent(tuned[precision].families[name]!)),
      ]),
      ['closed families', percent(base.f32.right), ...precisions.map((one) => percent(tuned[one].right))],
      ['turns closed', percent(base.f32.closed), ...precisions.map((one) => percent(tuned[one].closed))],
      [
        'valid form',
        percent(base.f32.formatValid),
        ...precisions.map((one) => percent(tuned[one].formatValid)),
      ],
      [
        'in scope, yet declined',
        percent(base.f32.wronglyDeclined),
        ...precisions.map((one) => percent(tuned[one].wronglyDeclined)),
      ],
    ],
  )
}

function basePrecisions({ base, baseLoss, tuned }: Evaluation): string {
  const precisions = ['f32', 'bf16', 'int8', 'int4'] as const
  return table(
    ['', ...precisions],
    [
      ['loss of held-out documents, base model', ...precisions.map((one) => nats(baseLoss[one]))],
      ['loss of right answers, tuned model', ...precisions.map((one) => nats(tuned[one].loss))],
      [
        'right answers over the closed families, base model',
        ...precisions.map((one) => percent(base[one].right)),
      ],
    ],
  )
}

function samplesList({ samples }: Evaluation): string {
  return samples
    .map(
      ({ question, said, right }) =>
        `> ${question}\n\n${said.replace(/^/gm, '    ')}\n\n${right ? '' : '*(wrong)*\n\n'}`,
    )
    .join('')
}

const taskRows = (tasks: Readonly<Record<string, Share>>): string[][] =>
  Object.entries(tasks).map(([task, share]) => [task, percent(share)])

/** What is for training only, where there is any. */
function drillsTable({ tuned }: Evaluation): string {
  const rows = taskRows(tuned.f32.drills)
  if (rows.length === 0) return ''
  return `
For training only, and in no figure above: more wordings and strange words, so that the tasks above are learned more broadly. Their
own held-out wordings and words:

${table(['drill', 'right'], rows)}
`
}

function originText({ recipes, sha256 }: NonNullable<CardFigures['origin']>): string {
  return `This last course went on from the model as it was published before it (SHA-256 ${sha256}), after the
courses of ${recipes.map((name) => `\`${name}\``).join(' and ')}: its 8-bit weights in float32. The base model measured below is that of the
pre-training above, by the recipe that the published one came from as well. The whole route from random numbers goes on from float32
everywhere, and so comes to other bits.
`
}

export function writeCard(route: Route, figures: CardFigures): string {
  const { documents, conversations, pretrain, courses, origin, evaluation } = figures
  const { speed } = evaluation
  const marks = marksOf(route, evaluation)
  const missed = marks.filter(({ met }) => !met)
  const run = ({ steps, tokens, seconds }: RunFigures): string =>
    `${count(steps)} steps, ${count(tokens)} tokens, ${count(seconds / 60)} minutes`
  return `# Gemma ${route.name}

A Gemma of ${count(pretrain.parameters)} parameters, made from nothing by \`npm run ${route.name}\` of this repository: the architecture,
tokenizer kind, prompt format and code path of Gemma, in miniature. It demonstrates the route; it competes with nothing.
This card was written by the route.

## What it is for, and what it cannot do

It answers questions of the families below, in English, one at a time. It knows no facts of the world, writes no programs of
its own, and cannot be relied on to remember what was said before. Names, numbers, units and words outside of the generators' lists
are beyond it.${route.marks.declined === undefined ? '' : ' It was taught to decline what it cannot do; that is learned too, and fails now and then.'}

## Data

All data is generated by this repository (\`examples/${route.name === 'micro' ? 'micro' : 'recipes/corpus'}/\`${route.name === 'micro' ? ', `src/micro/`' : ''}), seed ${route.seed}; none of it
was scraped, none of it is about real people. A vocabulary of ${count(route.vocabSize)} pieces was learned from it (${figures.bytesPerToken.toFixed(2)} bytes per token).

${table(
  ['', 'made', 'tokens'],
  [
    ...Object.entries(documents).map(([kind, { records, tokens }]) => [
      ...[kind, `${count(records)} documents`, count(tokens)],
    ]),
    ...Object.entries(conversations).map(([name, { records, tokens }]) => [
      ...[name, `${count(records)} conversations`, count(tokens)],
    ]),
  ],
)}

## Training

Pre-training: ${run(pretrain)}. Fine-tuning: ${courses.map(run).join('; then ')}. The time is that of a machine of ${speed.threads} cores, shared with other work.
${origin === undefined ? '' : originText(origin)}The same seed gives the same weights to the bit on the same kind of machine, with any number of threads.

![loss of pre-training](pretrain.svg)

${route.courses
  .slice(-courses.length)
  .map((course) => `![loss of fine-tuning](${course}.svg)`)
  .join('\n\n')}

<details><summary>Recipes with every default</summary>

${[pretrain, ...courses].map(({ recipe }) => `\`\`\`yaml\n${recipe.trim()}\n\`\`\``).join('\n\n')}

</details>

## Evaluation

On ${route.name === 'micro' ? 'wordings (a fifth of all) and subjects' : 'wordings and combinations'} that training never has; greedy answers; shares with intervals of 95 % confidence (Wilson).
Losses are in nats per token. Answers to held-out wordings were looked at while it was decided
what else to train and how often${route.marks.declined === undefined ? '' : ', so the shares are a little better than those of wordings that nobody has looked at'}.

### Marks${missed.length > 0 ? `: ${missed.length} of ${marks.length} missed` : ', all met'}

${marksTable(marks)}

### Documents: loss and entropy

The grammars that write the documents know each one's probability, so the loss has a floor.

${gapTable(evaluation.gaps)}

### Answers

${answersTable(evaluation)}

<details><summary>By task, tuned model in float32</summary>

${table(['task', 'right'], taskRows(evaluation.tuned.f32.tasks))}
${drillsTable(evaluation)}
</details>

### Precisions

${basePrecisions(evaluation)}

## Size and speed

The file has ${(speed.bytes / 1e6).toFixed(2)} MB (8-bit blocks, tokenizer included). It loaded in ${count(speed.loadMs)} ms, read prompts at ${count(speed.prefillTokensPerSecond)} and answered
at ${count(speed.decodeTokensPerSecond)} tokens per second, with up to ${speed.threads} threads of a shared server.

## Some answers

Of each task two right ones, and up to two wrong ones where there are any.

${samplesList(evaluation)}`.replace(/\n+$/, '\n')
}
