// The WGSL lowerings that the way forward and back of training needs besides those of inference. The optimiser's steps are
// not among them yet: gradients can be had on the GPU, whole training cannot.

import { scaleOp } from './add/add-backward.ts'
import { scaleWebGpu } from './add/add-backward.wgsl.ts'
import { dropoutOp } from './dropout/dropout.ts'
import { dropoutWebGpu } from './dropout/dropout.wgsl.ts'
import { embedTableGradientOp } from './embed/embed-backward.ts'
import { embedTableGradientWebGpu } from './embed/embed-backward.wgsl.ts'
import { gegluGradientOp } from './geglu/geglu-backward.ts'
import { gegluGradientWebGpu } from './geglu/geglu-backward.wgsl.ts'
import { exactLinearOp, linearInputGradientOp, linearWeightGradientOp } from './linear/linear-backward.ts'
import {
  exactLinearWebGpu,
  linearInputGradientWebGpu,
  linearWeightGradientWebGpu,
} from './linear/linear-backward.wgsl.ts'
import { logprobGradientOp } from './logprob/logprob-backward.ts'
import { logprobGradientWebGpu } from './logprob/logprob-backward.wgsl.ts'
import type { WebGpuLowerings } from './lowering-webgpu.ts'
import { rmsNormInputGradientOp, rmsNormWeightGradientOp } from './rmsnorm/rmsnorm-backward.ts'
import { rmsNormInputGradientWebGpu, rmsNormWeightGradientWebGpu } from './rmsnorm/rmsnorm-backward.wgsl.ts'
import { rowAttentionGradientOp, rowAttentionOp } from './row-attention/row-attention.ts'
import { rowAttentionGradientWebGpu, rowAttentionWebGpu } from './row-attention/row-attention.wgsl.ts'
import { softcapGradientOp } from './softcap/softcap-backward.ts'
import { softcapGradientWebGpu } from './softcap/softcap-backward.wgsl.ts'
import { webGpuLowerings } from './webgpu.ts'

export const webGpuTrainingLowerings: WebGpuLowerings = new Map([
  ...webGpuLowerings,
  [scaleOp, scaleWebGpu],
  [dropoutOp, dropoutWebGpu],
  [embedTableGradientOp, embedTableGradientWebGpu],
  [rmsNormInputGradientOp, rmsNormInputGradientWebGpu],
  [rmsNormWeightGradientOp, rmsNormWeightGradientWebGpu],
  [gegluGradientOp, gegluGradientWebGpu],
  [softcapGradientOp, softcapGradientWebGpu],
  [logprobGradientOp, logprobGradientWebGpu],
  [rowAttentionOp, rowAttentionWebGpu],
  [rowAttentionGradientOp, rowAttentionGradientWebGpu],
  [exactLinearOp, exactLinearWebGpu],
  [linearInputGradientOp, linearInputGradientWebGpu],
  [linearWeightGradientOp, linearWeightGradientWebGpu],
])
