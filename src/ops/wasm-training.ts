// The lowerings that training needs besides those of inference. A table of its own, so that what runs a model does
// not carry what trains one.

import { scaleOp, scaleWasm } from './add/add-backward.ts'
import { embedTableGradientOp, embedTableGradientWasm } from './embed/embed-backward.ts'
import { gegluGradientOp, gegluGradientWasm } from './geglu/geglu-backward.ts'
import {
  exactLinearOp,
  exactLinearWasm,
  linearInputGradientOp,
  linearInputGradientWasm,
  linearWeightGradientOp,
  linearWeightGradientWasm,
} from './linear/linear-backward.ts'
import { logprobGradientOp, logprobGradientWasm } from './logprob/logprob-backward.ts'
import type { Lowerings } from './lowering.ts'
import {
  adafactorOp,
  adafactorWasm,
  adamwOp,
  adamwWasm,
  squaresOp,
  squaresWasm,
  zeroOp,
  zeroWasm,
} from './optimizer/optimizer.ts'
import {
  rmsNormInputGradientOp,
  rmsNormInputGradientWasm,
  rmsNormWeightGradientOp,
  rmsNormWeightGradientWasm,
} from './rmsnorm/rmsnorm-backward.ts'
import {
  rowAttentionGradientOp,
  rowAttentionGradientWasm,
  rowAttentionOp,
  rowAttentionWasm,
} from './row-attention/row-attention.ts'
import { softcapGradientOp, softcapGradientWasm } from './softcap/softcap-backward.ts'
import { wasmLowerings } from './wasm.ts'

export const trainingLowerings: Lowerings = new Map([
  ...wasmLowerings,
  [embedTableGradientOp, embedTableGradientWasm],
  [rmsNormInputGradientOp, rmsNormInputGradientWasm],
  [rmsNormWeightGradientOp, rmsNormWeightGradientWasm],
  [gegluGradientOp, gegluGradientWasm],
  [softcapGradientOp, softcapGradientWasm],
  [scaleOp, scaleWasm],
  [logprobGradientOp, logprobGradientWasm],
  [rowAttentionOp, rowAttentionWasm],
  [rowAttentionGradientOp, rowAttentionGradientWasm],
  [squaresOp, squaresWasm],
  [zeroOp, zeroWasm],
  [adamwOp, adamwWasm],
  [adafactorOp, adafactorWasm],
  [exactLinearOp, exactLinearWasm],
  [linearInputGradientOp, linearInputGradientWasm],
  [linearWeightGradientOp, linearWeightGradientWasm],
])
