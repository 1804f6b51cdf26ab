// Which files of a repository loading a model needs: configuration, one tokenizer, one form of the
// weights. Works on names only, so that the same rule chooses from a remote listing and judges whether a
// local directory is complete. Knows nothing about the network or the disk.

import { GemmaError } from '../error.ts'

export interface Choice {
  /** Small files, first to fetch. */
  readonly metadata: readonly string[]
  /** model.safetensors.index.json or its torch twin: names the shards, which `weights` then lacks. */
  readonly index?: string
  readonly weights: readonly string[]
  /** The file to open instead of the directory (a repository may hold several GGUF files). */
  readonly entry?: string
  /** 'weights', 'a tokenizer', … when a model cannot be loaded from these names. */
  readonly missing: readonly string[]
}

const smallFiles = ['config.json', 'generation_config.json', 'tokenizer_config.json', 'chat_template.jinja']
const safetensorsIndex = 'model.safetensors.index.json'
const torchIndex = 'pytorch_model.bin.index.json'

// Of several quantisations in one repository: the official Gemma files are Q4_0, then what llama.cpp's
// users most often publish, then larger ones. Types that cannot be read are not in the list.
const ggufPreference = 'Q4_0 Q4_K_M Q4_K_S Q8_0 Q6_K Q5_K_M Q5_K_S Q4_1 BF16 F16 F32'.split(' ')

/** What an adapter (LoRA, in the form of PEFT) consists of. */
export const adapterFiles: readonly string[] = ['adapter_config.json', 'adapter_model.safetensors']

/** Chooses from the names in a repository's top folder; with `patterns`, exactly what they match. */
export function chooseFiles(names: readonly string[], patterns?: readonly string[]): Choice {
  if (patterns !== undefined) return chooseByPattern(names, patterns)
  const top = new Set(names.filter((name) => !name.includes('/')))
  const weights = chooseWeights([...top])
  if (weights?.entry !== undefined) return { metadata: [], ...weights, missing: [] }
  const metadata = smallFiles.filter((name) => top.has(name))
  const tokenizer = ['tokenizer.model', 'tokenizer.json'].find((name) => top.has(name))
  if (tokenizer !== undefined) metadata.push(tokenizer)
  const missing: string[] = []
  if (!top.has('config.json') && !weights?.weights.some((name) => name.endsWith('.ckpt'))) {
    missing.push('config.json')
  }
  if (tokenizer === undefined) missing.push('tokenizer.model or tokenizer.json')
  if (weights === undefined) missing.push('weights (.safetensors, .bin, .ckpt or .gguf)')
  return { metadata, ...(weights ?? { weights: [] }), missing }
}

function chooseByPattern(names: readonly string[], patterns: readonly string[]): Choice {
  const chosen = new Set<string>()
  const missing: string[] = []
  for (const pattern of patterns) {
    const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
    const expression = new RegExp(`^${parts.join('[^/]*')}$`)
    const matched = names.filter((name) => expression.test(name))
    if (matched.length === 0) missing.push(pattern)
    for (const name of matched) chosen.add(name)
  }
  const weights = [...chosen]
  const ggufs = weights.filter((name) => name.endsWith('.gguf')).sort()
  const entry = ggufs.length > 0 && ggufs.length === weights.length ? ggufs[0] : undefined
  return { metadata: [], weights, entry, missing }
}

interface ChosenWeights {
  readonly weights: readonly string[]
  readonly index?: string
  readonly entry?: string
}

function chooseWeights(names: readonly string[]): ChosenWeights | undefined {
  if (names.includes('model.safetensors')) return { weights: ['model.safetensors'] }
  if (names.includes(safetensorsIndex)) return { weights: [], index: safetensorsIndex }
  const safetensors = names.filter((name) => name.endsWith('.safetensors') && !name.startsWith('adapter'))
  if (safetensors.length === 1) return { weights: safetensors }
  if (names.includes('pytorch_model.bin')) return { weights: ['pytorch_model.bin'] }
  if (names.includes(torchIndex)) return { weights: [], index: torchIndex }
  const torch = names.filter((name) => name.endsWith('.ckpt'))
  if (torch.length === 1) return { weights: torch }
  return chooseGguf(names)
}

function chooseGguf(names: readonly string[]): ChosenWeights | undefined {
  // mmproj files are the vision towers of multimodal models
  const files = names.filter((name) => name.endsWith('.gguf') && !/mmproj/i.test(name)).sort()
  if (files.length === 0) return undefined
  const firsts = files.filter((name) => !/-\d{5}-of-\d{5}\.gguf$/.test(name) || /-00001-of-/.test(name))
  const first = ggufPreference
    .map((type) => firsts.find((name) => new RegExp(`(^|[-._])${type}([-._]|$)`, 'i').test(name)))
    .find((name) => name !== undefined)
  const entry = first ?? firsts[0]
  if (entry === undefined) return undefined
  return { weights: ggufParts(entry, files), entry }
}

/** All parts of a split file when `entry` is its first, else `entry` alone. */
function ggufParts(entry: string, files: readonly string[]): string[] {
  const split = /^(.*)-00001-of-(\d{5})\.gguf$/.exec(entry)
  if (split === null) return [entry]
  const isPart = (name: string): boolean =>
    name.startsWith(`${split[1]}-`) && name.endsWith(`-of-${split[2]}.gguf`)
  return files.filter(isPart)
}

/** The shards that an index file names, each once. `text` is the file's content. */
export function shardsOf(text: string, source: string): string[] {
  const shards = new Set<string>()
  for (const shard of Object.values(weightMap(text, source))) {
    if (typeof shard !== 'string' || !isSafeName(shard)) {
      throw new GemmaError(
        'file',
        `${source}: expected names of files in weight_map, got ${JSON.stringify(shard)}.`,
      )
    }
    shards.add(shard)
  }
  return [...shards].sort()
}

function weightMap(text: string, source: string): object {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw new GemmaError('file', `${source}: expected JSON.`, 'The file is damaged; fetch it again.', {
      cause,
    })
  }
  const map = (parsed as { weight_map?: unknown } | null)?.weight_map
  if (typeof map === 'object' && map !== null && !Array.isArray(map)) return map
  throw new GemmaError('file', `${source}: expected an object with "weight_map".`)
}

/** Whether a name from a listing can become a path below a directory: relative, no '..', no drive. */
export function isSafeName(name: string): boolean {
  if (name.length === 0 || name.length > 1024) return false
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (/[\\:\u0000-\u001f]/.test(name)) return false
  return name.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
}
