// A conversation and what can be done with it: ask, stop, answer again, change an earlier turn. Holds no view.

import { useRef, useState } from 'preact/hooks'
import { type Engine, messageOf } from './engine/client.ts'
import type { Answer, Message, Sampling } from './engine/protocol.ts'
import { useKept } from './settings.ts'

export interface Turn {
  readonly role: 'user' | 'assistant'
  readonly content: string
  /** Whether the answer was stopped before its end. */
  readonly stopped?: boolean
}

export interface Growing {
  readonly text: string
  /** Pieces of text so far, and since when. */
  readonly pieces: number
  readonly since: number
  /** Tokens of the prompt that are done, and all. */
  readonly prompt?: readonly [done: number, total: number]
}

export interface Conversation {
  readonly turns: readonly Turn[]
  /** The answer that is coming, if one is. */
  readonly growing: Growing | undefined
  readonly last: Answer | undefined
  readonly fault: string | undefined
  ask(text: string): void
  stop(): void
  /** Answers the last question once more. */
  again(): void
  /** Puts another text in a question's place; what came after it goes, and it is answered. */
  edit(index: number, text: string): void
  clear(): void
}

export interface ConversationOptions {
  readonly engine: Engine
  readonly sampling: Sampling
  readonly system: string
  /** Whether each question stands for itself, as a model needs it that was taught no more. */
  readonly single: boolean
}

export function useConversation({ engine, sampling, system, single }: ConversationOptions): Conversation {
  const [turns, setTurns] = useKept<readonly Turn[]>('conversation', [], readTurns)
  const [growing, setGrowing] = useState<Growing>()
  const [last, setLast] = useState<Answer>()
  const [fault, setFault] = useState<string>()
  const work = useRef<AbortController>(undefined)

  const answer = async (asked: readonly Turn[]): Promise<void> => {
    const controller = new AbortController()
    work.current = controller
    setTurns(asked)
    setFault(undefined)
    setLast(undefined)
    const live = createLive(setGrowing)
    const finish = (stopped: boolean): void => {
      const text = live.end()
      if (text !== '' || !stopped)
        setTurns([...asked, { role: 'assistant', content: text, ...(stopped ? { stopped } : {}) }])
    }
    try {
      const args: [readonly Message[], Sampling] = [promptOf(asked, system, single), sampling]
      setLast(await engine.call('chat', args, { signal: controller.signal, onEvent: live.hear }))
      finish(false)
    } catch (error) {
      finish(true)
      setFault(messageOf(error))
    } finally {
      setGrowing(undefined)
      work.current = undefined
    }
  }
  return {
    turns,
    growing,
    last,
    fault,
    ask: (text) => void answer([...turns, { role: 'user', content: text }]),
    stop: () => work.current?.abort(),
    again() {
      const question = turns.findLastIndex(({ role }) => role === 'user')
      if (question >= 0) void answer(turns.slice(0, question + 1))
    },
    edit: (index, text) => void answer([...turns.slice(0, index), { role: 'user', content: text }]),
    clear() {
      work.current?.abort()
      setTurns([])
      setLast(undefined)
      setFault(undefined)
    },
  }
}

/** What the model is given of a conversation. */
export function promptOf(turns: readonly Turn[], system: string, single: boolean): readonly Message[] {
  const told = single ? turns.slice(-1) : turns
  const messages = told.map(({ role, content }) => ({ role, content }))
  return system === '' ? messages : [{ role: 'system', content: system }, ...messages]
}

/** Collects pieces of text and shows them once a frame: a small model gives thousands a second. */
function createLive(show: (growing: Growing) => void): {
  hear: (event: { readonly text: string } | { readonly prompt: readonly [number, number] }) => void
  end: () => string
} {
  let growing: Growing = { text: '', pieces: 0, since: 0 }
  let frame: number | undefined
  const later = (): void => {
    frame ??= requestAnimationFrame(() => {
      frame = undefined
      show(growing)
    })
  }
  show(growing)
  return {
    hear(event) {
      if ('prompt' in event) growing = { ...growing, prompt: event.prompt }
      else {
        const { text, pieces, since } = growing
        growing = {
          text: text + event.text,
          pieces: pieces + 1,
          since: pieces === 0 ? performance.now() : since,
        }
      }
      later()
    },
    end() {
      if (frame !== undefined) cancelAnimationFrame(frame)
      return growing.text
    },
  }
}

function readTurns(value: unknown): readonly Turn[] | undefined {
  if (!Array.isArray(value)) return undefined
  const fine = value.every(
    (turn: Partial<Turn> | null) =>
      (turn?.role === 'user' || turn?.role === 'assistant') && typeof turn.content === 'string',
  )
  return fine ? value : undefined
}
