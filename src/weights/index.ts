// The public surface of gemma-ts/weights: reading the containers and encodings of checkpoints, from any
// Source, in Node and in the browser. What needs a file system is in index.node.ts (gemma-ts/weights/node).

export { blobSource, bytesSource } from './bytes-source.ts'
export type {
  Checkpoint,
  Encoding,
  StoredAdapter,
  StoredAdapterLayer,
  StoredTensor,
  TokenizerFiles,
} from './checkpoint.ts'
export {
  type Contents,
  ggufContents,
  safetensorsContents,
  torchContents,
  type WeightFile,
} from './containers.ts'
export {
  blockSizes,
  decodeRows,
  decodeValues,
  encodedBytes,
  encodeRows,
  readFloatRows,
  readFloats,
  type WritableEncoding,
} from './encodings.ts'
export { type GgufHeader, type GgufTensor, type GgufValue, readGguf } from './gguf.ts'
export { type Merged, type MergeOptions, type MergeReport, mergeAdapters } from './merge-adapters.ts'
export { type AdapterSettings, readPeft } from './peft.ts'
export { readSafetensors, type SafetensorsEntry, type SafetensorsHeader } from './safetensors.ts'
export { readBytes, type Source } from './source.ts'
