// All kernels, one module.
export { embed } from '../../ops/embed/embed.wasm'
export { rmsNorm } from '../../ops/rmsnorm/rmsnorm.wasm'
export { quantizeActivations } from '../../ops/linear/quantize.wasm'
export * from '../../ops/linear/integer.wasm'
export { linearMatrix, linearVector } from '../../ops/linear/float.wasm'
export {
  narrowBf16, narrowF16, packI8, packInt4, packInt8, packInt8Row, packQ4_0, packQ4_1, packQ4_K, packQ8_0, widenBf16, widenF16,
} from '../../ops/linear/pack.wasm'
export { rope } from '../../ops/rope/rope.wasm'
export { append } from '../../ops/append/append.wasm'
export { attentionCombine, attentionPartial } from '../../ops/attention/attention.wasm'
export { geglu } from '../../ops/geglu/geglu.wasm'
export { add } from '../../ops/add/add.wasm'
export { softcap } from '../../ops/softcap/softcap.wasm'
export { last } from '../../ops/last/last.wasm'
export { logprob } from '../../ops/logprob/logprob.wasm'
export { samplePick, sampleScan } from '../../ops/sample/sample.wasm'
export { probeDot } from './runtime.wasm'
