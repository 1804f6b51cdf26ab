// The lowerings that training needs besides those of inference. A table of its own, so that what runs a model does
// not carry what trains one.

import { scaleOp, scaleWasm } from './add/add-backward.ts'
import { embedTableGradientOp, embedTableGradientWasm } from './embed/embed-backward.ts'
import { gegluGradientOp, gegluGradientWasm } from './geglu/geglu-backward.ts'
import { logprobGradientOp, logprobGradientWasm } from './logprob/logprob-backward.ts'
import type { Lowerings } from './lowering.ts'
import {
  rmsNormInputGradientOp,
  rmsNormInputGradientWasm,
  rmsNormWeightGradientOp,
  rmsNormWeightGradientWasm,
} from './rmsnorm/rmsnorm-backward.ts'
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
])
