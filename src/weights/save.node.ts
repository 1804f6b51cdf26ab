// Writes a checkpoint in another container or type: a Hugging Face directory or a GGUF file. Rows stream
// from the source through float32 to the target, so memory stays at a few pieces. Node only.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GemmaError } from '../error.ts'
import { toTokenizerJson } from '../tokenizer/to-tokenizer-json.ts'
import { createTokenizer } from '../tokenizer/tokenizer.ts'
import { writeDirectoryAtomically } from './atomic.node.ts'
import type { Checkpoint, StoredTensor, TokenizerFiles } from './checkpoint.ts'
import { encodedBytes, encodeRows, fitsBlocks, readFloatRows, rowsAndColumns } from './encodings.ts'
import { ggufFromConfig } from './gguf-config.ts'
import { ggufTokenizerEntries } from './gguf-tokenizer.ts'
import { type GgufEncoding, type GgufEntry, writeGguf } from './gguf-writer.node.ts'
import { toGguf } from './names.ts'
import { writeShards } from './safetensors-writer.node.ts'
import type { TensorPlan, WriteOptions } from './tensor-writer.node.ts'

/** 'int8' is GGUF's Q8_0, 'int4' its Q4_0. */
export type SaveDtype = 'f32' | 'f16' | 'bf16' | 'int8' | 'int4'

export interface SaveOptions extends WriteOptions {
  readonly dtype: SaveDtype
  /** Default: 'gguf' for a path that ends so and for int8 and int4, else 'safetensors'. */
  readonly format?: 'safetensors' | 'gguf'
  /** Size past which safetensors are divided; default 5 GB. */
  readonly shardBytes?: number
  /** Other tokenizer files than the checkpoint's own. */
  readonly tokenizer?: TokenizerFiles
}

const ggufEncodings = { f32: 'F32', f16: 'F16', bf16: 'BF16', int8: 'Q8_0', int4: 'Q4_0' } as const
const safetensorsDtypes = { f32: 'F32', f16: 'F16', bf16: 'BF16' } as const
const torchDtypes = { f32: 'float32', f16: 'float16', bf16: 'bfloat16' } as const

/** Writes `checkpoint` to `path`: a new or empty directory for safetensors, a file for GGUF. */
export async function convertCheckpoint(
  checkpoint: Checkpoint,
  path: string,
  options: SaveOptions,
): Promise<void> {
  const { dtype } = options
  const integers = dtype === 'int8' || dtype === 'int4'
  const format = options.format ?? (path.endsWith('.gguf') || integers ? 'gguf' : 'safetensors')
  if (format === 'gguf') await saveGguf(checkpoint, path, options)
  else if (!integers) await saveHuggingFace(checkpoint, path, { ...options, dtype })
  else {
    throw new GemmaError(
      'usage',
      `safetensors files are written in f32, f16 or bf16, not ${dtype}.`,
      'Choose the format gguf for int8 and int4.',
    )
  }
}

/** Rows of a stored tensor, decoded and encoded anew, `add` added to each value. */
function reencoded<Type extends 'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0'>(
  tensor: StoredTensor,
  name: string,
  type: Type,
  add: number,
): TensorPlan<Type> {
  const { columns } = rowsAndColumns(tensor.shape)
  const rowBytes = encodedBytes(type, columns)
  let floats = new Float32Array(0)
  return {
    name,
    shape: tensor.shape,
    type,
    rowBytes,
    async fill(from, into) {
      const rows = into.byteLength / rowBytes
      if (floats.length < rows * columns) floats = new Float32Array(rows * columns)
      await readFloatRows(tensor, from, rows, floats)
      if (add !== 0) for (let i = 0; i < rows * columns; i++) floats[i] += add
      encodeRows(type, floats, rows, columns, into, tensor.name)
    },
  }
}

/** Writes a GGUF file that llama.cpp reads: norms F32 with the 1 added, matrices in the chosen type. */
export async function saveGguf(checkpoint: Checkpoint, path: string, options: SaveOptions): Promise<void> {
  const metadata = ggufMetadata(checkpoint, options)
  const architecture = (metadata.get('general.architecture') as { value: string }).value
  const encoding = ggufEncodings[options.dtype]
  const plans: TensorPlan<GgufEncoding>[] = []
  for (const tensor of checkpoint.tensors.values()) {
    const name = toGguf(tensor.name, architecture)
    if (name === undefined) {
      throw new GemmaError('unsupported', `${checkpoint.name}: GGUF has no place for ${tensor.name}.`)
    }
    const norm = tensor.shape.length === 1
    plans.push(reencoded(tensor, name, norm ? 'F32' : matrixEncoding(encoding, tensor), norm ? 1 : 0))
  }
  await writeGguf(path, metadata, plans, options)
}

// llama.cpp stores matrices whose rows are not whole blocks in F16 as well.
function matrixEncoding(
  encoding: 'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0',
  tensor: StoredTensor,
): typeof encoding {
  return fitsBlocks(encoding, rowsAndColumns(tensor.shape).columns) ? encoding : 'F16'
}

// llama_ftype in llama.cpp's include/llama.h: "mostly" this type.
const fileTypes = { f32: 0, f16: 1, bf16: 32, int8: 7, int4: 2 } as const

function ggufMetadata(checkpoint: Checkpoint, options: SaveOptions): Map<string, GgufEntry> {
  const { config, name } = checkpoint
  const metadata = new Map<string, GgufEntry>(ggufFromConfig(config, name) as Map<string, GgufEntry>)
  const title = typeof config._name_or_path === 'string' ? config._name_or_path : baseTitle(name)
  metadata.set('general.name', { type: 'string', value: title })
  metadata.set('general.file_type', { type: 'u32', value: fileTypes[options.dtype] })
  metadata.set('general.quantization_version', { type: 'u32', value: 2 })
  const files = options.tokenizer ?? checkpoint.tokenizer
  const rows = checkpoint.tensors.get('model.embed_tokens.weight')?.shape[0]
  if (rows === undefined) throw new GemmaError('file', `${name} has no embedding to be written.`)
  const tokenizer = ggufTokenizerEntries(createTokenizer(files).vocabulary, rows, chatTemplateOf(files))
  for (const [key, entry] of tokenizer) metadata.set(key, entry)
  return metadata
}

function baseTitle(name: string): string {
  return name.split(/[\\/]/).findLast((part) => part !== '') ?? 'gemma'
}

function chatTemplateOf(files: TokenizerFiles): string | undefined {
  if (files.chatTemplate !== undefined) return files.chatTemplate
  const template = parseObject(files.tokenizerConfigJson)?.chat_template
  return typeof template === 'string' ? template : undefined
}

function parseObject(json: string | undefined): Record<string, unknown> | undefined {
  if (json === undefined) return undefined
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined // a broken tokenizer_config.json only costs the template
  }
}

/**
 * Writes a directory in Hugging Face's layout. It is made under a temporary name and renamed when whole;
 * an existing directory must be empty.
 */
export async function saveHuggingFace(
  checkpoint: Checkpoint,
  path: string,
  options: SaveOptions & { readonly dtype: 'f32' | 'f16' | 'bf16' },
): Promise<void> {
  await writeDirectoryAtomically(path, (directory) => writeDirectory(checkpoint, directory, options))
}

async function writeDirectory(
  checkpoint: Checkpoint,
  directory: string,
  options: SaveOptions & { readonly dtype: 'f32' | 'f16' | 'bf16' },
): Promise<void> {
  const type = safetensorsDtypes[options.dtype]
  const plans = [...checkpoint.tensors.values()]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((tensor) => reencoded(tensor, tensor.name, type, 0))
  await writeShards(directory, plans, options)
  const json = (name: string, value: unknown): Promise<void> =>
    writeFile(join(directory, name), `${JSON.stringify(value, null, 2)}\n`)
  await json('config.json', huggingFaceConfig(checkpoint, torchDtypes[options.dtype]))
  await json('generation_config.json', generationConfig(checkpoint))
  await writeTokenizer(options.tokenizer ?? checkpoint.tokenizer, directory, json)
}

const architectures: Readonly<Record<string, string>> = {
  gemma: 'GemmaForCausalLM',
  gemma2: 'Gemma2ForCausalLM',
  gemma3_text: 'Gemma3ForCausalLM',
}

function huggingFaceConfig(checkpoint: Checkpoint, torchDtype: string): Record<string, unknown> {
  const { config } = checkpoint
  const architecture = architectures[String(config.model_type)]
  const { dtype: _, ...kept } = config // transformers' newer word for torch_dtype
  return {
    ...(architecture === undefined ? {} : { architectures: [architecture] }),
    // llama.cpp's converter wants it said; transformers takes this value where it is not.
    rms_norm_eps: 1e-6,
    ...kept,
    // transformers' GemmaConfig asks for hidden_act; those of Gemma 2 and 3 have hidden_activation only.
    ...(config.model_type === 'gemma' ? { hidden_act: config.hidden_act ?? 'gelu_pytorch_tanh' } : {}),
    torch_dtype: torchDtype,
  }
}

function generationConfig(checkpoint: Checkpoint): Record<string, unknown> {
  if (Object.keys(checkpoint.generationConfig).length > 0) return { ...checkpoint.generationConfig }
  const { bos_token_id, eos_token_id, pad_token_id } = checkpoint.config
  return { bos_token_id, eos_token_id, pad_token_id }
}

async function writeTokenizer(
  files: TokenizerFiles,
  directory: string,
  json: (name: string, value: unknown) => Promise<void>,
): Promise<void> {
  const write = async (name: string, content: string | Uint8Array | undefined): Promise<void> => {
    if (content !== undefined) await writeFile(join(directory, name), content)
  }
  await write('tokenizer.model', files.sentencePiece)
  await write('tokenizer.json', files.tokenizerJson)
  await write('tokenizer_config.json', files.tokenizerConfigJson)
  await write('chat_template.jinja', files.chatTemplate)
  if (files.gguf === undefined || files.sentencePiece !== undefined || files.tokenizerJson !== undefined)
    return
  // From GGUF only the vocabulary is known: write the form that every reader of the directory knows.
  const { vocabulary } = createTokenizer(files)
  await json('tokenizer.json', toTokenizerJson(vocabulary))
  await json('tokenizer_config.json', {
    add_bos_token: true,
    add_eos_token: false,
    bos_token: vocabulary.pieces[vocabulary.bosId],
    eos_token: vocabulary.pieces[vocabulary.eosId],
    pad_token: vocabulary.pieces[vocabulary.padId],
    unk_token: vocabulary.pieces[vocabulary.unkId],
    clean_up_tokenization_spaces: false,
    tokenizer_class: 'GemmaTokenizer',
  })
}
