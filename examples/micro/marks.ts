// Holds what was measured of a route against what it must reach. Knows nothing of measuring.

import { type AnswerFigures, type Evaluation, OUT_OF_SCOPE } from './evaluate.ts'
import { overall, type Share } from './measure.ts'
import type { Precision, Route } from './routes.ts'

export interface Mark {
  readonly name: string
  readonly wanted: string
  readonly reached: string
  readonly met: boolean
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`

function interval({ share, low, high }: Share): string {
  return `${percent(share)} (${percent(low)} to ${percent(high)})`
}

function least(name: string, share: Share, wanted: number): Mark {
  return { name, wanted: `≥ ${percent(wanted)}`, reached: interval(share), met: share.share >= wanted }
}

function most(name: string, value: number, wanted: number, unit: string): Mark {
  return { name, wanted: `≤ ${wanted} ${unit}`, reached: `${value.toFixed(4)} ${unit}`, met: value <= wanted }
}

/** The marks of answers. */
export function answerMarks({ marks, closedFamilies }: Route, figures: AnswerFigures): Mark[] {
  const { closed, formatValid, right, families, wronglyDeclined } = figures
  const all = [
    least('answers that end their turn', closed, marks.closed),
    least('answers of valid form', formatValid, marks.formatValid),
    least('right answers over the closed families', right, marks.right),
    ...closedFamilies.map((family) =>
      least(`right answers: ${family}`, families[family]!, marks.rightInEach),
    ),
  ]
  if (marks.declined !== undefined) {
    all.push(least('questions out of scope declined', families[OUT_OF_SCOPE]!, marks.declined))
  }
  if (marks.wronglyDeclined !== undefined) {
    all.push({
      name: 'questions in scope declined',
      wanted: `≤ ${percent(marks.wronglyDeclined)}`,
      reached: interval(wronglyDeclined),
      met: wronglyDeclined.share <= marks.wronglyDeclined,
    })
  }
  return all
}

/** Every mark of a route with what was reached. */
export function marksOf(route: Route, { gaps, baseLoss, tuned }: Evaluation): Mark[] {
  const { loss, entropy } = overall(Object.values(gaps))
  const { gap, precisions } = route.marks
  const { f32 } = tuned
  const rounded = (Object.keys(precisions) as Precision[]).flatMap((precision) => {
    const bounds = precisions[precision]
    const ofDocuments = baseLoss[precision] - baseLoss.f32
    const ofAnswers = tuned[precision].loss - f32.loss
    const fall = 100 * (f32.right.share - tuned[precision].right.share)
    return [
      most(`${precision}: rise of the documents' loss`, ofDocuments, bounds.loss, 'nat/token'),
      most(`${precision}: rise of the answers' loss`, ofAnswers, bounds.loss, 'nat/token'),
      most(`${precision}: fall of right answers`, fall, 100 * bounds.right, 'points'),
    ]
  })
  return [
    most('loss above the entropy of held-out documents', loss - entropy, gap, 'nat/token'),
    ...answerMarks(route, f32),
    ...rounded,
  ]
}
