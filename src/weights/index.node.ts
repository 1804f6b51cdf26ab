// The public surface of gemma-ts/weights/node: opening checkpoints on disk and writing new ones, beside all
// of gemma-ts/weights. Node only.

export { type GgufEntry, writeGguf } from './gguf-writer.node.ts'
export * from './index.ts'
export { openCheckpoint } from './open.node.ts'
export { type AdapterTensor, openAdapter, type WriteAdapterOptions, writeAdapter } from './peft.node.ts'
export { writeSafetensors, writeShards } from './safetensors-writer.node.ts'
export {
  convertCheckpoint,
  type SaveDtype,
  type SaveOptions,
  saveGguf,
  saveHuggingFace,
} from './save.node.ts'
export { openFile } from './source.node.ts'
export type { TensorPlan, WriteOptions, WriteProgress } from './tensor-writer.node.ts'
