// All kernels of inference and those of training, one module: what runs a model does not carry the second half.
export * from './kernels.wasm'
export { scale } from '../../ops/add/add-backward.wasm'
export { embedTableGradient } from '../../ops/embed/embed-backward.wasm'
export { gegluGradient } from '../../ops/geglu/geglu-backward.wasm'
export { logprobGradient } from '../../ops/logprob/logprob-backward.wasm'
export { rmsNormFactors, rmsNormInputGradient, rmsNormWeightGradient } from '../../ops/rmsnorm/rmsnorm-backward.wasm'
export { softcapGradient } from '../../ops/softcap/softcap-backward.wasm'
