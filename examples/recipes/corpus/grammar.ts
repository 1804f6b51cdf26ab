// A way to write documents whose probability is known exactly. A writer is a generator function: it yields the
// text it writes and the choices it makes, and is handed what was chosen. Whoever runs it decides what choosing
// means: drawing a document, finding out how probable a given text is, or adding up the entropy of all texts.
// Knows no words and no files.

/** One of several ways to go on, each as likely as its share of the weights. Any way may lead anywhere. */
interface Way {
  readonly weights: readonly number[]
}

/**
 * One of so many equally likely words. Which one may decide what words come later, but neither how many ways
 * and words there are to choose from later nor their weights: that is what lets entropyOf skip them.
 */
interface Word {
  readonly words: number
}

/** Text that is written, or a choice that is made. */
export type Step = string | Way | Word
/** A document in the making. `next(i)` says that the i-th possibility was taken. */
export type Writing<Result = void> = Generator<Step, Result, number>
/** Starts a document; called once for each. */
export type Writer = () => Writing

/** `yield* way(3, 1)` gives 0 in three of four documents, 1 in the fourth. */
export function* way(...weights: number[]): Writing<number> {
  return yield { weights }
}

/** `yield* word(list)` gives one of a list, all equally likely. */
export function* word<Item>(list: readonly Item[]): Writing<Item> {
  return list[yield { words: list.length }]!
}

export interface Document {
  readonly text: string
  /** ln p of the text: the sum over its choices, in nats. */
  readonly logProbability: number
}

function possibilities(step: Way | Word): number {
  return 'words' in step ? step.words : step.weights.length
}

/** ln of the probability of one possibility. */
function logShare(step: Way | Word, taken: number): number {
  if ('words' in step) return -Math.log(step.words)
  return Math.log(step.weights[taken]! / step.weights.reduce((sum, weight) => sum + weight, 0))
}

function draw(step: Way | Word, uniform: number): number {
  if ('words' in step) return Math.floor(uniform * step.words)
  let left = uniform * step.weights.reduce((sum, weight) => sum + weight, 0)
  const found = step.weights.findIndex((weight) => (left -= weight) < 0)
  return found < 0 ? step.weights.length - 1 : found
}

/** Writes one document. `random` gives uniform numbers in [0, 1). */
export function writeDocument(writer: Writer, random: () => number): Document {
  const writing = writer()
  let text = ''
  let logProbability = 0
  let taken = 0
  for (;;) {
    const { value: step, done } = writing.next(taken)
    if (done) return { text, logProbability }
    if (typeof step === 'string') text += step
    else {
      taken = draw(step, random())
      logProbability += logShare(step, taken)
    }
  }
}

/** Goes through all possibilities, like the wheels of a counter, the last choice turning fastest. */
interface Counter {
  /** The next choice of this round, of so many. */
  take(possibilities: number): number
  /** Begins the next round; false when all were there. */
  turn(): boolean
}

function createCounter(): Counter {
  const wheels: { at: number; readonly of: number }[] = []
  let depth = 0
  return {
    take(of) {
      if (depth === wheels.length) wheels.push({ at: 0, of })
      return wheels[depth++]!.at
    },
    turn() {
      depth = 0
      while (wheels.length > 0 && wheels.at(-1)!.at + 1 === wheels.at(-1)!.of) wheels.pop()
      const last = wheels.at(-1)
      if (last !== undefined) last.at++
      return last !== undefined
    },
  }
}

/**
 * Every way in which a writer can come to a text, as its ln p; none when it cannot. A writer of which each text
 * has one derivation is unambiguous, and only then is the probability of its derivation that of the text.
 *
 * Begins anew for each try: a wrong choice is noticed at the next text that is written, so that the work is the
 * number of possibilities along the text, not their product.
 */
export function derivations(writer: Writer, text: string): number[] {
  const found: number[] = []
  const counter = createCounter()
  do {
    const writing = writer()
    let at = 0
    let logProbability = 0
    let taken = 0
    for (;;) {
      const { value: step, done } = writing.next(taken)
      if (done) {
        if (at === text.length) found.push(logProbability)
        break
      }
      if (typeof step === 'string') {
        if (!text.startsWith(step, at)) break
        at += step.length
      } else {
        taken = counter.take(possibilities(step))
        logProbability += logShare(step, taken)
      }
    }
  } while (counter.turn())
  return found
}

/** ln p of a text, summed over its derivations; −Infinity when the writer cannot have written it. */
export function logProbabilityOf(writer: Writer, text: string): number {
  return Math.log(derivations(writer, text).reduce((sum, each) => sum + Math.exp(each), 0))
}

/**
 * The entropy of a writer in nats per document, exactly: −Σ p ln p by the chain rule over its choices. It goes
 * through all ways; of words, which by their contract change no later share, the first stands for all.
 */
export function entropyOf(writer: Writer): number {
  let entropy = 0
  const counter = createCounter()
  do {
    const writing = writer()
    let logProbability = 0
    let logWords = 0
    let taken = 0
    for (;;) {
      const { value: step, done } = writing.next(taken)
      if (done) break
      if (typeof step === 'string') continue
      if ('words' in step) {
        taken = 0
        logWords += Math.log(step.words)
      } else {
        taken = counter.take(step.weights.length)
        logProbability += logShare(step, taken)
      }
    }
    entropy += Math.exp(logProbability) * (logWords - logProbability)
  } while (counter.turn())
  return entropy
}
