// The public surface of gemma-ts/weights: opening checkpoints and reading their tensors.

export { blobSource, bytesSource } from './bytes-source.ts'
export type { Checkpoint, Encoding, StoredTensor, TokenizerFiles } from './checkpoint.ts'
export { blockSizes, decodeRows, decodeValues, encodedBytes, readFloatRows, readFloats } from './encodings.ts'
export { openCheckpoint } from './open.node.ts'
export { readSafetensors, type SafetensorsEntry, type SafetensorsHeader } from './safetensors.ts'
export { openFile } from './source.node.ts'
export type { Source } from './source.ts'
