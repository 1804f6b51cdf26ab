// Chooses the chat template of a checkpoint: its own Jinja where it brings one, else the built-in one.
// Knows nothing about ids.

import { GemmaError } from '../error.ts'
import type { TokenizerFiles } from '../weights/checkpoint.ts'
import { type BuiltInTemplate, renderBuiltIn } from './built-in-template.ts'
import { type ChatMessage, checkMessages } from './chat-message.ts'
import { createJinjaTemplate, type TemplateValues } from './jinja-template.ts'
import type { Vocabulary } from './vocabulary.ts'

/** Throws GemmaError 'template' with the template's own words when it refuses the messages. */
export type RenderChat = (messages: readonly ChatMessage[], addGenerationPrompt: boolean) => string

/**
 * `fallback` is used when the files bring no template. A template that is not valid Jinja throws when it is
 * first used, so that a checkpoint with one can still do all else.
 */
export function createRenderChat(
  files: TokenizerFiles,
  vocabulary: Vocabulary,
  fallback: BuiltInTemplate,
): RenderChat {
  const config = readConfig(files.tokenizerConfigJson)
  const source =
    files.chatTemplate ?? namedTemplate(config.chat_template) ?? files.gguf?.get('tokenizer.chat_template')
  if (typeof source !== 'string') {
    return (messages, addGenerationPrompt) => {
      checkMessages(messages)
      return renderBuiltIn(fallback, messages, addGenerationPrompt)
    }
  }
  const tokens = tokenTexts(config, vocabulary)
  let render: ((values: TemplateValues) => string) | undefined
  return (messages, addGenerationPrompt) => {
    checkMessages(messages)
    render ??= createJinjaTemplate(source)
    return render({ messages, addGenerationPrompt, tokens })
  }
}

function readConfig(json: string | undefined): Record<string, unknown> {
  if (json === undefined) return {}
  try {
    const config: unknown = JSON.parse(json)
    if (typeof config === 'object' && config !== null) return config as Record<string, unknown>
  } catch {
    // Reported below, in the same words as a file that is JSON but no object.
  }
  throw new GemmaError('tokenizer', 'tokenizer_config.json: expected a JSON object.', 'Fetch the file again.')
}

/** A string, or the one called "default" in a list of named templates. */
function namedTemplate(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (!Array.isArray(value)) return undefined
  const named = value.filter((entry) => typeof entry?.name === 'string' && typeof entry.template === 'string')
  return (named.find((entry) => entry.name === 'default') ?? named[0])?.template
}

function tokenTexts(config: Record<string, unknown>, vocabulary: Vocabulary): Record<string, string> {
  const { pieces, bosId, eosId, padId, unkId } = vocabulary
  const text = (key: string, id: number): string => {
    const value = config[key]
    if (typeof value === 'string') return value
    const { content } = (value ?? {}) as { content?: unknown }
    return typeof content === 'string' ? content : pieces[id]
  }
  return {
    bos_token: text('bos_token', bosId),
    eos_token: text('eos_token', eosId),
    pad_token: text('pad_token', padId),
    unk_token: text('unk_token', unkId),
  }
}
