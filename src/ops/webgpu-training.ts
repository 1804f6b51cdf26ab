// The WGSL lowerings that training needs besides those of inference. A table of its own, as for WebAssembly.

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
import { adafactorOp, adamwOp, squaresOp, zeroOp } from './optimizer/optimizer.ts'
import { adafactorWebGpu, adamwWebGpu, squaresWebGpu, zeroWebGpu } from './optimizer/optimizer.wgsl.ts'
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
  [squaresOp, squaresWebGpu],
  [zeroOp, zeroWebGpu],
  [adamwOp, adamwWebGpu],
  [adafactorOp, adafactorWebGpu],
])
