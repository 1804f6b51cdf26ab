// What was said, turn by turn, with what can be done to it.

import { useState } from 'preact/hooks'
import type { Conversation, Turn } from '../conversation.ts'

export function Turns({ conversation }: { conversation: Conversation }) {
  const { turns, growing, again, edit } = conversation
  const [editing, setEditing] = useState<number>()
  return (
    <div class="turns" role="log" aria-label="Conversation">
      {turns.map((turn, i) =>
        editing === i ? (
          // Turns are told apart by their place alone.
          <Editor
            key={i}
            text={turn.content}
            onCancel={() => setEditing(undefined)}
            onDone={(text) => {
              setEditing(undefined)
              edit(i, text)
            }}
          />
        ) : (
          <article key={i} class={`turn ${turn.role}`} aria-label={turn.role === 'user' ? 'You' : 'Gemma'}>
            {turn.role === 'user' ? <p class="said">{turn.content}</p> : <AnswerText text={turn.content} />}
            {turn.stopped && <p class="quiet">(stopped)</p>}
            {!growing && (
              <Actions
                turn={turn}
                last={i === turns.length - 1}
                onEdit={() => setEditing(i)}
                onAgain={again}
              />
            )}
          </article>
        ),
      )}
    </div>
  )
}

interface ActionsProps {
  readonly turn: Turn
  readonly last: boolean
  readonly onEdit: () => void
  readonly onAgain: () => void
}

function Actions({ turn, last, onEdit, onAgain }: ActionsProps) {
  const [copied, setCopied] = useState(false)
  return (
    <div class="actions">
      {turn.role === 'user' && (
        <button type="button" onClick={onEdit}>
          Edit
        </button>
      )}
      {last && (
        <button type="button" onClick={onAgain}>
          {turn.role === 'user' ? 'Answer' : 'Answer again'}
        </button>
      )}
      <button
        type="button"
        onClick={() => {
          // A page that may not use the clipboard leaves the button as it is.
          navigator.clipboard?.writeText(turn.content).then(
            () => setCopied(true),
            () => setCopied(false),
          )
        }}
      >
        {copied ? 'Copied' : 'Copy'}
      </button>
    </div>
  )
}

interface EditorProps {
  readonly text: string
  readonly onDone: (text: string) => void
  readonly onCancel: () => void
}

function Editor({ text, onDone, onCancel }: EditorProps) {
  const [draft, setDraft] = useState(text)
  return (
    <form
      class="turn user editor"
      onSubmit={(event) => {
        event.preventDefault()
        if (draft.trim() !== '') onDone(draft.trim())
      }}
    >
      <label>
        <span class="hidden">Change your message</span>
        <textarea
          rows={3}
          value={draft}
          autofocus
          onInput={(event) => setDraft(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== 'Escape') return
            event.stopPropagation()
            onCancel()
          }}
        />
      </label>
      <div class="actions">
        <button type="submit" class="main" disabled={draft.trim() === ''}>
          Ask this instead
        </button>
        <button type="button" onClick={onCancel}>
          Leave it
        </button>
      </div>
    </form>
  )
}

/** An answer: fenced code as code, the rest as it was written. */
export function AnswerText({ text }: { text: string }) {
  const parts = text.split(/^```[^\n]*\n?/m)
  return (
    <div class="said">
      {parts.map((part, i) => {
        if (part === '') return null
        return i % 2 === 1 ? <pre key={i}>{part}</pre> : <p key={i}>{part}</p>
      })}
    </div>
  )
}
