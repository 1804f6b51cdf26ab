// What the worker can do, method by method. Holds the one model that is loaded.

import { Gemma, GemmaError, inspect, type WebModelSource, webMachine } from '../../src/index.web.ts'
import { exampleQuestions } from '../../src/micro/examples.ts'
import { forget, keep, openKept, resume, storage } from '../store/kept.ts'
import type { Method, Methods, Source } from './protocol.ts'

interface Context<M extends Method> {
  readonly signal: AbortSignal
  readonly emit: (event: Methods[M]['event']) => void
}

type Implementation = {
  readonly [M in Method]: (context: Context<M>, ...args: Methods[M]['args']) => Promise<Methods[M]['value']>
}

let loaded: Gemma | undefined
/** Loads follow one another, so that two models never lie in memory at once. */
let loading: Promise<unknown> = Promise.resolve()

function model(): Gemma {
  if (loaded) return loaded
  throw new GemmaError('usage', 'No model is loaded.', 'Choose one first.')
}

async function unload(): Promise<void> {
  const old = loaded
  loaded = undefined
  await old?.dispose()
}

interface Opened {
  /** undefined: the model that ships with the package. */
  readonly source: WebModelSource | undefined
  readonly name: string
  readonly headers?: Readonly<Record<string, string>>
}

async function open(source: Source): Promise<Opened> {
  switch (source.kind) {
    case 'built-in':
      return { source: undefined, name: 'Gemma micro' }
    case 'files':
      return {
        source: source.files.length === 1 ? source.files[0]! : source.files,
        name: source.files.length === 1 ? source.files[0]!.name : `${source.files.length} files`,
      }
    case 'kept':
      return openKept(source.id)
    case 'url':
      return {
        source: source.url,
        name: source.url,
        headers: headersFor(source.token),
      }
  }
}

function headersFor(token: string | undefined): Opened['headers'] {
  return token ? { Authorization: `Bearer ${token}` } : undefined
}

export const methods: Implementation = {
  machine: () => webMachine(),
  storage: () => storage(),
  async inspect({ signal }, source, contextLength) {
    const { source: files, name, headers } = await open(source)
    const { memory } = await webMachine()
    // Browsers tell how much memory the machine has, not how much of it is free.
    const available = memory === null ? null : memory * 0.75
    return { ...(await inspect(files, { headers, signal, contextLength, available })), model: name }
  },
  async keep({ signal, emit }, source, files) {
    return keep(await open(source), files, { signal, onProgress: emit })
  },
  async resume({ signal, emit }, id, token) {
    await resume(id, headersFor(token), { signal, onProgress: emit })
    return null
  },
  async forget(_, id) {
    await forget(id)
    return null
  },
  async load({ signal, emit }, source, options) {
    const before = loading
    const turn = Promise.withResolvers<void>()
    loading = turn.promise
    try {
      await before
      await unload()
      const opened = await open(source)
      const gemma = await Gemma.load(opened.source, {
        ...options,
        headers: opened.headers,
        signal,
        onProgress: ({ name, bytes, totalBytes }) => emit({ phase: 'load', name, bytes, totalBytes }),
      })
      loaded = gemma
      return {
        name: opened.name,
        description: gemma.description,
        contextLength: gemma.contextLength,
        takesSystem: takesSystem(gemma),
        examples: source.kind === 'built-in' ? exampleQuestions : [],
      }
    } finally {
      turn.resolve()
    }
  },
  async unload() {
    await unload()
    return null
  },
  async chat({ signal, emit }, messages, sampling) {
    let dropped = 0
    const answer = model().chat(messages, {
      ...sampling,
      signal,
      onDropped: (count) => {
        dropped = count
      },
      onPrompt: (done, total) => emit({ prompt: [done, total] }),
    })
    for (;;) {
      const { value, done } = await answer.next()
      if (done) return { summary: value, dropped }
      emit({ text: value })
      // Without threads the model computes here: let the word to stop come through.
      await nextTask()
    }
  },
  async continue({ signal, emit }, text, sampling) {
    const pieces = model().generate(text, { ...sampling, signal })
    for (;;) {
      const { value, done } = await pieces.next()
      if (done) return value
      emit(value)
      await nextTask()
    }
  },
  async prompt(_, messages) {
    const { tokenizer } = model()
    const text = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })
    return { text, tokens: tokenizer.encodePrompt(text).length }
  },
  async tokenize(_, text, parseControl) {
    const { tokenizer } = model()
    const ids = tokenizer.encode(text, { parseControl })
    return {
      ids,
      pieces: ids.map((id) => tokenizer.pieceOf(id)),
      control: ids.map((id) => tokenizer.isControl(id)),
    }
  },
}

function takesSystem(gemma: Gemma): boolean {
  try {
    gemma.tokenizer.applyChatTemplate([
      { role: 'system', content: 'x' },
      { role: 'user', content: 'x' },
    ])
    return true
  } catch (error) {
    if (error instanceof GemmaError) return false
    throw error
  }
}

const channel = new MessageChannel()
const waiting: (() => void)[] = []
channel.port1.onmessage = () => waiting.shift()?.()

/** After the messages that wait. setTimeout would cost 4 ms each time. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve)
    channel.port2.postMessage(null)
  })
}
