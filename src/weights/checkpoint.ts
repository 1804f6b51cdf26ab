// What every container (safetensors, torch, GGUF) becomes: named tensors with the names and shapes of the
// Hugging Face layout, readable row by row, plus a configuration with Hugging Face's keys. Nothing here
// knows how a file is laid out, and nothing that uses it knows which container it was.

/** How the values of a stored tensor are written. Q* are llama.cpp's block formats. */
export type Encoding =
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'I8'
  | 'Q8_0'
  | 'Q4_0'
  | 'Q4_1'
  | 'Q5_0'
  | 'Q5_1'
  | 'Q4_K'
  | 'Q5_K'
  | 'Q6_K'

export interface StoredTensor {
  /** Hugging Face name, e.g. 'model.layers.0.self_attn.q_proj.weight', whatever the container calls it. */
  readonly name: string
  /** [columns] of a vector or [rows, columns] of a matrix, row-major; a vector is one row. */
  readonly shape: readonly number[]
  readonly encoding: Encoding
  /** Bytes of one encoded row: the columns of a matrix, or the whole vector. */
  readonly rowBytes: number
  /** Subtracted from every value after decoding: 1 for GGUF's norm weights (stored as 1 + w), else 0. */
  readonly subtract: number
  /** For 'I8' only: F32, one scale per row; value = int8 × scale of its row. */
  readonly rowScales?: StoredTensor
  /** Reads encoded rows [from, from + into.byteLength / rowBytes) into `into` (which may be shared memory). */
  readRows(from: number, into: Uint8Array): Promise<void>
}

/** The tokenizer files a checkpoint carries, as read; whichever are present. */
export interface TokenizerFiles {
  /** tokenizer.model: SentencePiece protobuf */
  sentencePiece?: Uint8Array
  /** tokenizer.json: Hugging Face */
  tokenizerJson?: string
  /** tokenizer_config.json */
  tokenizerConfigJson?: string
  /** chat_template.jinja or the template in GGUF metadata */
  chatTemplate?: string
  /** GGUF `tokenizer.ggml.*` metadata, keys as in the file */
  gguf?: ReadonlyMap<string, unknown>
}

export interface Checkpoint {
  readonly container: 'safetensors' | 'torch' | 'gguf'
  /** What to call it in messages: the directory or file. */
  readonly name: string
  /** config.json's object, or the same keys made from GGUF metadata or from the shapes of a bare .ckpt. */
  readonly config: Readonly<Record<string, unknown>>
  /** generation_config.json's object, or {} */
  readonly generationConfig: Readonly<Record<string, unknown>>
  /** By Hugging Face name. A tied output head ('lm_head.weight') is left out; buffers that are not weights too. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly tokenizer: TokenizerFiles
  /** Stored names that are neither weights of the text model, nor buffers, nor parts of a vision tower. */
  readonly unknown: readonly string[]
  close(): Promise<void>
}

/** What a low-rank adapter adds to one weight: scale · up · down (Hu et al. 2021, arXiv 2106.09685: B · A). */
export interface StoredAdapterLayer {
  /** A: [rank, columns of the weight]; reading values that are no numbers is an error. */
  readonly down: StoredTensor
  /** B: [rows of the weight, rank] */
  readonly up: StoredTensor
  readonly scale: number
}

/** A low-rank adapter as its files describe it; whether it fits a model is for the model to say. */
export interface StoredAdapter {
  /** What to call it in messages: the directory. */
  readonly name: string
  /** What the files say it was trained on, if they do: a Hugging Face id or a path. */
  readonly baseName: string | undefined
  /** By the Hugging Face name of the weight that is added to. */
  readonly layers: ReadonlyMap<string, StoredAdapterLayer>
  /** Targets ('q_proj') that the files say are there in every layer of the model. */
  readonly everywhere: readonly string[]
  close(): Promise<void>
}
