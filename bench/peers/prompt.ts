// Prompts and timings, the same for every engine. Runs in Node and in the browser.

export interface Model {
  /** The file: a path, in a page an address. */
  readonly file: string
  /** The same in parts of less than 2 GB, where it is larger; else the file alone. */
  readonly parts: readonly string[]
  readonly vocabulary: number
}

export interface Setting {
  readonly model: Model
  readonly threads: number
  readonly contextLength: number
}

export interface Timing {
  /** Prompt tokens that were computed, and the time to the first token. */
  readonly prompt: number
  readonly prefillMs: number
  /** Tokens after the first, and the time they took. */
  readonly tokens: number
  readonly decodeMs: number
}

export interface Started {
  readonly loadMs: number
  /** Wall clock (performance.timeOrigin + performance.now()) of the first token of a short prompt. */
  readonly firstTokenAt: number
}

/** What an engine has to bring. */
export interface Adapter {
  load(setting: Setting): Promise<void>
  /**
   * Brings the context to `tokens`, of which the first `kept` are there already, and takes the most likely
   * token `count` times, calling at each.
   */
  answer(
    tokens: readonly number[],
    kept: number,
    count: number,
    onToken: (token: number) => void,
  ): Promise<void>
  dispose(): Promise<void>
}

/** What is asked of an engine, wherever it runs. */
export interface Calls {
  start(setting: Setting): Promise<Started>
  /** A fresh random prompt of `prompt` tokens, then `tokens` more after the first. */
  run(seed: number, prompt: number, tokens: number): Promise<Timing>
  /** Goes on with random tokens up to `length` of context, then decodes. */
  fill(seed: number, length: number, tokens: number): Promise<Timing>
  dispose(): Promise<void>
}

const SHORT_PROMPT = 8

/** <bos> and random ids of ordinary pieces: a prompt that no cache has seen. */
export function randomPrompt(seed: number, length: number, vocabulary: number): number[] {
  let state = Math.imul(seed + 1, 2654435761) >>> 0
  const next = (): number => {
    // Constants of Numerical Recipes' "quick and dirty" generator.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state >>> 8
  }
  return [2, ...Array.from({ length: length - 1 }, () => 500 + (next() % (vocabulary - 700)))]
}

/** The calls of an engine, timed: clocks are read before a call, at its first token and at its last. */
export function createCalls(adapter: Adapter): Calls {
  let vocabulary = 0
  let context: number[] = []

  const timed = async (tokens: number[], kept: number, count: number): Promise<Timing> => {
    const start = performance.now()
    let first = 0
    let last = 0
    const made: number[] = []
    await adapter.answer(tokens, kept, count + 1, (token) => {
      last = performance.now()
      if (made.length === 0) first = last
      made.push(token)
    })
    // The last token is drawn, but not computed yet.
    context = [...tokens, ...made.slice(0, -1)]
    const times = { prefillMs: first - start, decodeMs: last - first }
    return { prompt: tokens.length - kept, tokens: made.length - 1, ...times }
  }

  return {
    async start(setting) {
      vocabulary = setting.model.vocabulary
      const start = performance.now()
      await adapter.load(setting)
      const loadMs = performance.now() - start
      let firstTokenAt = 0
      await adapter.answer(randomPrompt(0, SHORT_PROMPT, vocabulary), 0, 1, () => {
        firstTokenAt = performance.timeOrigin + performance.now()
      })
      return { loadMs, firstTokenAt }
    },
    run: (seed, prompt, tokens) => timed(randomPrompt(seed, prompt, vocabulary), 0, tokens),
    fill(seed, length, tokens) {
      const more = randomPrompt(seed, length - context.length + 1, vocabulary).slice(1)
      return timed([...context, ...more], context.length, tokens)
    },
    dispose: () => adapter.dispose(),
  }
}
