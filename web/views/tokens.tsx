// Text as the model reads it: each piece in a colour of its own, with its id.

import { useEffect, useState } from 'preact/hooks'
import { formatCount } from '../../src/format.ts'
import { type Engine, messageOf } from '../engine/client.ts'
import type { Loaded, TokenView } from '../engine/protocol.ts'
import { Fault } from './fault.tsx'

const EXAMPLE = 'The quick brown fox jumps over 13 lazy dogs.\n<start_of_turn>user\n  naïve café 東京 🦊'
/** Pieces that are drawn; a page with more would be slow. */
const MOST_SHOWN = 5000
const COLOURS = 6

export function TokensView({ engine, loaded }: { engine: Engine; loaded: Loaded }) {
  const [text, setText] = useState(EXAMPLE)
  const [control, setControl] = useState(true)
  const [view, setView] = useState<TokenView>()
  const [fault, setFault] = useState<string>()
  useEffect(() => {
    let current = true
    const seen = (next: TokenView): void => {
      if (!current) return
      setView(next)
      setFault(undefined)
    }
    engine.call('tokenize', [text, control]).then(seen, (error) => current && setFault(messageOf(error)))
    return () => {
      current = false
    }
  }, [engine, loaded, text, control])
  return (
    <>
      <label class="wide">
        Text
        <textarea
          rows={5}
          value={text}
          spellcheck={false}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={control}
          onChange={(event) => setControl(event.currentTarget.checked)}
        />
        Read control tokens such as &lt;bos&gt; as what they name
      </label>
      <Fault message={fault} />
      {view && (
        <>
          <p role="status">
            {formatCount(view.ids.length)} tokens, {formatCount([...text].length)} characters
            {view.ids.length > MOST_SHOWN && `; the first ${formatCount(MOST_SHOWN)} are shown`}
          </p>
          <ol class="pieces">
            {view.pieces.slice(0, MOST_SHOWN).map((piece, i) => (
              // Pieces have no identity but their place.
              <li
                key={i}
                class={view.control[i] ? 'control' : `colour${i % COLOURS}`}
                title={`id ${view.ids[i]}`}
              >
                <span>{visible(piece)}</span>
                <small>{view.ids[i]}</small>
              </li>
            ))}
          </ol>
        </>
      )}
    </>
  )
}

function visible(piece: string): string {
  return piece.replaceAll('\u2581', '·').replaceAll('\n', '↵').replaceAll('\t', '→')
}
