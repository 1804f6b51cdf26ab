// All kernels of inference and those of training, one module: what runs a model does not carry the second half.
export * from './kernels.wasm'
export { scale } from '../../ops/add/add-backward.wasm'
export { embedTableGradient } from '../../ops/embed/embed-backward.wasm'
export { gegluGradient } from '../../ops/geglu/geglu-backward.wasm'
export { exactLinear, linearInputGradient, linearWeightGradient } from '../../ops/linear/linear-backward.wasm'
export { logprobGradient } from '../../ops/logprob/logprob-backward.wasm'
export {
  adafactorColumns, adafactorRows, adafactorSizes, adafactorUpdate, adafactorVector, adamw, squares, zero,
} from '../../ops/optimizer/optimizer.wasm'
export { rmsNormFactors, rmsNormInputGradient, rmsNormWeightGradient } from '../../ops/rmsnorm/rmsnorm-backward.wasm'
export {
  rowAttention, rowAttentionKeyGradient, rowAttentionQueryGradient,
} from '../../ops/row-attention/row-attention.wasm'
export { softcapGradient } from '../../ops/softcap/softcap-backward.wasm'
