// The conversation: questions and answers, the field to ask in, settings beside it, and what it costs.

import { useEffect, useRef, useState } from 'preact/hooks'
import { formatCount, formatRate } from '../../src/format.ts'
import { type Conversation, promptOf, type Turn, useConversation } from '../conversation.ts'
import { type Engine, messageOf } from '../engine/client.ts'
import type { Answer, Loaded, Message } from '../engine/protocol.ts'
import { saveJson, saveMarkdown } from '../export.ts'
import { Fault } from './fault.tsx'
import { type Settings, SettingsPanel, samplingOf } from './settings.tsx'
import { AnswerText, Turns } from './turns.tsx'

export interface ChatViewProps {
  readonly engine: Engine
  readonly loaded: Loaded
  readonly settings: Settings
  readonly onSettings: (settings: Settings) => void
  readonly visible: boolean
}

export function ChatView({ engine, loaded, settings, onSettings, visible }: ChatViewProps) {
  const single = loaded.examples.length > 0
  const system = loaded.takesSystem ? settings.system : ''
  const conversation = useConversation({ engine, sampling: samplingOf(settings), system, single })
  const { turns, growing, last, fault } = conversation
  const [draft, setDraft] = useState('')
  const question = turns.findLastIndex(({ role }) => role === 'user')
  /** The conversation up to its last question, or to what is about to be one. */
  const asked: readonly Turn[] =
    question >= 0 ? turns.slice(0, question + 1) : [{ role: 'user', content: draft === '' ? '…' : draft }]
  const field = useRef<HTMLTextAreaElement>(null)
  const bottom = useRef<HTMLDivElement>(null)
  useEffect(() => {
    if (visible) field.current?.focus()
  }, [visible, loaded])
  useEffect(() => bottom.current?.scrollIntoView({ block: 'nearest' }), [growing, turns])
  const { stop } = conversation
  useEffect(() => {
    if (!visible || !growing) return
    const press = ({ key }: KeyboardEvent): void => {
      if (key === 'Escape') stop()
    }
    addEventListener('keydown', press)
    return () => removeEventListener('keydown', press)
  })
  const ask = (text: string): void => {
    if (growing || text.trim() === '') return
    conversation.ask(text.trim())
    setDraft('')
    field.current?.focus()
  }
  return (
    <div class="chat">
      {turns.length === 0 && !growing && <Opening loaded={loaded} onAsk={ask} />}
      <Turns conversation={conversation} />
      {growing && (
        <div class="turn assistant" aria-hidden="true">
          <AnswerText text={growing.text === '' ? '…' : growing.text} />
        </div>
      )}
      <p class="announce" role="status">
        {growing ? 'The model is answering.' : ''}
      </p>
      <Fault message={fault} />
      <div ref={bottom} />
      <form
        class="composer"
        onSubmit={(event) => {
          event.preventDefault()
          ask(draft)
        }}
      >
        <label>
          <span class="hidden">Message</span>
          <textarea
            ref={field}
            rows={2}
            value={draft}
            placeholder="Ask something"
            aria-describedby="keys"
            onInput={(event) => setDraft(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
              event.preventDefault()
              ask(draft)
            }}
          />
        </label>
        {growing ? (
          <button type="button" class="main" onClick={conversation.stop}>
            Stop
          </button>
        ) : (
          <button type="submit" class="main" disabled={draft.trim() === ''}>
            Send
          </button>
        )}
      </form>
      <p id="keys" class="keys">
        Enter sends, Shift+Enter begins a new line, Escape stops an answer.
      </p>
      <Figures conversation={conversation} loaded={loaded} last={last} />
      <div class="tools">
        <button type="button" disabled={turns.length === 0} onClick={conversation.clear}>
          New conversation
        </button>
        <button type="button" disabled={turns.length === 0} onClick={() => saveMarkdown(turns, loaded)}>
          Save as text
        </button>
        <button
          type="button"
          disabled={turns.length === 0}
          onClick={() => saveJson(turns, loaded, samplingOf(settings), system)}
        >
          Save as JSON
        </button>
      </div>
      <SettingsPanel settings={settings} takesSystem={loaded.takesSystem} onChange={onSettings} />
      <PromptView engine={engine} loaded={loaded} messages={promptOf(asked, system, single)} />
    </div>
  )
}

function Opening({ loaded, onAsk }: { loaded: Loaded; onAsk: (text: string) => void }) {
  if (loaded.examples.length === 0) {
    return <p class="quiet">The conversation begins when you ask something.</p>
  }
  return (
    <div class="quiet">
      <p>
        This very small model knows a few closed kinds of questions, and each stands for itself. For instance:
      </p>
      <ul class="examples">
        {loaded.examples.map((question) => (
          <li key={question}>
            <button type="button" onClick={() => onAsk(question)}>
              {question}
            </button>
          </li>
        ))}
      </ul>
    </div>
  )
}

/** Tokens per second, and what is left of the context. */
function Figures({
  conversation: { growing },
  loaded,
  last,
}: {
  conversation: Conversation
  loaded: Loaded
  last: Answer | undefined
}) {
  if (growing) {
    const { prompt, pieces, since } = growing
    if (pieces === 0) {
      return (
        <p class="figures">
          {prompt ? `Reading the prompt: ${prompt[0]} of ${prompt[1]} tokens` : 'Reading…'}
        </p>
      )
    }
    const seconds = (performance.now() - since) / 1000
    return (
      <p class="figures">
        {seconds > 0.5 ? `${formatRate(pieces / seconds)} pieces of text per second` : ''}
      </p>
    )
  }
  if (last === undefined) return <p class="figures">{formatCount(loaded.contextLength)} tokens of context</p>
  const { summary, dropped } = last
  const { context, timing, usage, finishReason } = summary
  const left = context.length - context.used
  return (
    <div class="figures">
      <p>
        {formatCount(usage.completionTokens)} tokens at {formatRate(timing.decodeTokensPerSecond)} per second;
        prompt of {formatCount(usage.promptTokens)}
        {usage.cachedTokens > 0 && ` (${formatCount(usage.cachedTokens)} of them known from before)`} at{' '}
        {formatRate(timing.prefillTokensPerSecond)} per second
        {finishReason === 'length' && '; cut at the most tokens that were allowed'}
        {finishReason === 'context' && '; the context is full'}
        {dropped > 0 && `; the oldest ${dropped} messages were left out, as the context is full`}
      </p>
      <label>
        <meter min={0} max={context.length} high={context.length * 0.9} value={context.used} />
        {formatCount(left)} of {formatCount(context.length)} tokens of context left
      </label>
    </div>
  )
}

/** The conversation in Gemma's own format, on demand. */
function PromptView({
  engine,
  loaded,
  messages,
}: {
  engine: Engine
  loaded: Loaded
  messages: readonly Message[]
}) {
  const [open, setOpen] = useState(false)
  const [prompt, setPrompt] = useState<{ text: string; tokens: number }>()
  const [fault, setFault] = useState<string>()
  const key = JSON.stringify(messages)
  useEffect(() => {
    if (!open) return
    let current = true
    engine.call('prompt', [JSON.parse(key)]).then(
      (seen) => {
        if (!current) return
        setPrompt(seen)
        setFault(undefined)
      },
      (error) => current && setFault(messageOf(error)),
    )
    return () => {
      current = false
    }
  }, [open, key, loaded, engine])
  return (
    <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>What the model reads</summary>
      <Fault message={fault} />
      {prompt && (
        <>
          <pre>{prompt.text}</pre>
          <p class="quiet">{formatCount(prompt.tokens)} tokens</p>
        </>
      )}
    </details>
  )
}
