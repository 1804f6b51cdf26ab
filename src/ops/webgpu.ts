// Every op with its WGSL lowering, and what is lowered as one where it follows each other. The backend looks rules up here;
// an op that is missing is named when a tape that uses it is compiled.

import { addOp } from './add/add.ts'
import { addWebGpu } from './add/add.wgsl.ts'
import { appendOp } from './append/append.ts'
import { appendWebGpu } from './append/append.wgsl.ts'
import { attentionOp } from './attention/attention.ts'
import { attentionWebGpu } from './attention/attention.wgsl.ts'
import { embedOp } from './embed/embed.ts'
import { embedWebGpu } from './embed/embed.wgsl.ts'
import { gatedWebGpu } from './fused/gated.wgsl.ts'
import { headsWebGpu } from './fused/heads.wgsl.ts'
import { gegluOp } from './geglu/geglu.ts'
import { gegluWebGpu } from './geglu/geglu.wgsl.ts'
import { lastOp } from './last/last.ts'
import { lastWebGpu } from './last/last.wgsl.ts'
import { linearOp } from './linear/linear.ts'
import { linearWebGpu } from './linear/linear.wgsl.ts'
import { logprobOp } from './logprob/logprob.ts'
import { logprobWebGpu } from './logprob/logprob.wgsl.ts'
import type { WebGpuFusion, WebGpuLowerings } from './lowering-webgpu.ts'
import { rmsNormOp } from './rmsnorm/rmsnorm.ts'
import { addNormWebGpu, normAddNormWebGpu, rmsNormWebGpu } from './rmsnorm/rmsnorm.wgsl.ts'
import { ropeOp } from './rope/rope.ts'
import { ropeWebGpu } from './rope/rope.wgsl.ts'
import { sampleOp } from './sample/sample.ts'
import { sampleWebGpu } from './sample/sample.wgsl.ts'
import { softcapOp } from './softcap/softcap.ts'
import { softcapWebGpu } from './softcap/softcap.wgsl.ts'

export const webGpuLowerings: WebGpuLowerings = new Map([
  [embedOp, embedWebGpu],
  [rmsNormOp, rmsNormWebGpu],
  [linearOp, linearWebGpu],
  [ropeOp, ropeWebGpu],
  [appendOp, appendWebGpu],
  [attentionOp, attentionWebGpu],
  [gegluOp, gegluWebGpu],
  [addOp, addWebGpu],
  [softcapOp, softcapWebGpu],
  [lastOp, lastWebGpu],
  [sampleOp, sampleWebGpu],
  [logprobOp, logprobWebGpu],
])

/** Longer ones first. */
export const webGpuFusions: readonly WebGpuFusion[] = [
  headsWebGpu,
  gatedWebGpu,
  normAddNormWebGpu,
  addNormWebGpu,
]
