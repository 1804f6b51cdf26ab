// Going on with a text as it stands, which is all that a pre-trained model was taught. Each token is shaded by its
// probability.

import { useRef, useState } from 'preact/hooks'
import { formatCount, formatRate } from '../../src/format.ts'
import type { Piece, Summary } from '../../src/index.web.ts'
import { type Engine, messageOf } from '../engine/client.ts'
import type { Loaded } from '../engine/protocol.ts'
import { Fault } from './fault.tsx'
import { type Settings, SettingsPanel, samplingOf } from './settings.tsx'

export interface TextViewProps {
  readonly engine: Engine
  readonly loaded: Loaded
  readonly settings: Settings
  readonly onSettings: (settings: Settings) => void
}

export function TextView({ engine, loaded, settings, onSettings }: TextViewProps) {
  const [text, setText] = useState('Once upon a time')
  const [pieces, setPieces] = useState<readonly Piece[]>([])
  const [summary, setSummary] = useState<Summary>()
  const [fault, setFault] = useState<string>()
  const [busy, setBusy] = useState(false)
  const work = useRef<AbortController>(undefined)

  const go = async (): Promise<void> => {
    const controller = new AbortController()
    work.current = controller
    setBusy(true)
    setFault(undefined)
    setSummary(undefined)
    const found: Piece[] = []
    // Once a frame: a small model gives thousands a second.
    let frame = 0
    const show = (): void => {
      frame = 0
      setPieces([...found])
    }
    show()
    try {
      const done = await engine.call('continue', [text, samplingOf(settings)], {
        signal: controller.signal,
        onEvent(piece) {
          found.push(piece)
          frame ||= requestAnimationFrame(show)
        },
      })
      setSummary(done)
    } catch (error) {
      setFault(messageOf(error))
    } finally {
      cancelAnimationFrame(frame)
      show()
      setBusy(false)
    }
  }
  return (
    <>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          if (!busy) void go()
        }}
      >
        <label class="wide">
          Text to go on with
          <textarea rows={6} value={text} onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <div class="tools">
          {busy ? (
            <button type="button" class="main" onClick={() => work.current?.abort()}>
              Stop
            </button>
          ) : (
            <button type="submit" class="main">
              Continue
            </button>
          )}
          <button
            type="button"
            disabled={busy || pieces.length === 0}
            onClick={() => {
              setText(text + pieces.map((piece) => piece.text).join(''))
              setPieces([])
            }}
          >
            Take it over
          </button>
        </div>
      </form>
      <Fault message={fault} />
      {pieces.length > 0 && (
        <div class="continuation" role="log" aria-label="Continuation">
          {pieces.map(({ token, text: own, logprob }, i) => {
            const probability = Math.exp(logprob)
            const title = `id ${token}, probability ${(probability * 100).toFixed(1)} %`
            return (
              <span key={i} data-token={token} style={{ '--doubt': 1 - probability }} title={title}>
                {own}
              </span>
            )
          })}
        </div>
      )}
      <p class="figures" role="status">
        {busy && 'The model is writing.'}
        {summary &&
          `${formatCount(summary.usage.completionTokens)} tokens at ${formatRate(summary.timing.decodeTokensPerSecond)} per second; ` +
            `${formatCount(summary.context.length - summary.context.used)} of ${formatCount(loaded.contextLength)} tokens of context left`}
      </p>
      <SettingsPanel settings={settings} takesSystem={false} onChange={onSettings} />
    </>
  )
}
