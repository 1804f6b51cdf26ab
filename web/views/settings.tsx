// How answers are drawn.

import type { Sampling } from '../engine/protocol.ts'
import { useKept } from '../settings.ts'

export interface Settings {
  readonly temperature: number
  /** '' is no limit, and a seed that differs each time. */
  readonly topK: number | ''
  readonly topP: number | ''
  readonly maxTokens: number | ''
  readonly seed: number | ''
  readonly system: string
}

const DEFAULTS: Settings = { temperature: 0, topK: '', topP: '', maxTokens: 1024, seed: '', system: '' }

export function useSettings(): [Settings, (settings: Settings) => void] {
  return useKept('settings', DEFAULTS, (value) =>
    typeof value === 'object' && value !== null ? { ...DEFAULTS, ...value } : undefined,
  )
}

export function samplingOf({ temperature, topK, topP, maxTokens, seed }: Settings): Sampling {
  const given = <T,>(value: T | ''): T | undefined => (value === '' ? undefined : value)
  return {
    temperature,
    topK: given(topK),
    topP: given(topP),
    maxTokens: given(maxTokens),
    seed: given(seed),
  }
}

export interface SettingsPanelProps {
  readonly settings: Settings
  readonly takesSystem: boolean
  readonly onChange: (settings: Settings) => void
}

export function SettingsPanel({ settings, takesSystem, onChange }: SettingsPanelProps) {
  const set = <K extends keyof Settings>(key: K, value: Settings[K]): void =>
    onChange({ ...settings, [key]: value })
  return (
    <details>
      <summary>Settings</summary>
      <div class="options">
        <label>
          Temperature: {settings.temperature === 0 ? '0, always the likeliest token' : settings.temperature}
          <input
            type="range"
            min={0}
            max={2}
            step={0.05}
            value={settings.temperature}
            onInput={(event) => set('temperature', Number(event.currentTarget.value))}
          />
        </label>
        <NumberField
          label="Top-k"
          hint="all"
          min={1}
          value={settings.topK}
          onChange={(v) => set('topK', v)}
        />
        <NumberField
          label="Top-p"
          hint="1"
          min={0.01}
          max={1}
          step={0.01}
          value={settings.topP}
          onChange={(v) => set('topP', v)}
        />
        <NumberField
          label="Most tokens of an answer"
          hint="what the context has"
          min={1}
          value={settings.maxTokens}
          onChange={(v) => set('maxTokens', v)}
        />
        <NumberField
          label="Seed"
          hint="different each time"
          min={0}
          value={settings.seed}
          onChange={(v) => set('seed', v)}
        />
        {takesSystem && (
          <label class="wide">
            Instructions before the conversation
            <textarea
              rows={2}
              value={settings.system}
              onInput={(event) => set('system', event.currentTarget.value)}
            />
          </label>
        )}
        <button type="button" onClick={() => onChange(DEFAULTS)}>
          Back to the defaults
        </button>
      </div>
    </details>
  )
}

interface NumberFieldProps {
  readonly label: string
  /** What an empty field means. */
  readonly hint: string
  readonly min: number
  readonly max?: number
  readonly step?: number
  readonly value: number | ''
  readonly onChange: (value: number | '') => void
}

function NumberField({ label, hint, min, max, step = 1, value, onChange }: NumberFieldProps) {
  return (
    <label>
      {label}
      <input
        type="number"
        inputMode={step === 1 ? 'numeric' : 'decimal'}
        min={min}
        max={max}
        step={step}
        value={value}
        placeholder={hint}
        onInput={(event) => {
          const { value: text, validity } = event.currentTarget
          // What is no number within the bounds is shown as wrong by the browser, and not taken.
          if (text === '' ? !validity.badInput : validity.valid) onChange(text === '' ? '' : Number(text))
        }}
      />
    </label>
  )
}
