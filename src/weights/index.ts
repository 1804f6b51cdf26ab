// The public surface of gemma-ts/weights: opening checkpoints, reading their tensors, writing new ones.

export { blobSource, bytesSource } from './bytes-source.ts'
export type { Checkpoint, Encoding, StoredTensor, TokenizerFiles } from './checkpoint.ts'
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
export { type GgufEntry, writeGguf } from './gguf-writer.node.ts'
export { openCheckpoint } from './open.node.ts'
export { readSafetensors, type SafetensorsEntry, type SafetensorsHeader } from './safetensors.ts'
export { writeSafetensors, writeShards } from './safetensors-writer.node.ts'
export {
  convertCheckpoint,
  type SaveDtype,
  type SaveOptions,
  saveGguf,
  saveHuggingFace,
} from './save.node.ts'
export { openFile } from './source.node.ts'
export { readBytes, type Source } from './source.ts'
export type { TensorPlan, WriteOptions, WriteProgress } from './tensor-writer.node.ts'
