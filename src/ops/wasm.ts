// Every op with its WebAssembly lowering. Backends look rules up here; an op that is missing is named when a
// tape that uses it is compiled.

import { addOp, addWasm } from './add/add.ts'
import { appendOp, appendWasm } from './append/append.ts'
import { attentionOp, attentionWasm } from './attention/attention.ts'
import { dropoutOp, dropoutWasm } from './dropout/dropout.ts'
import { embedOp, embedWasm } from './embed/embed.ts'
import { gegluOp, gegluWasm } from './geglu/geglu.ts'
import { lastOp, lastWasm } from './last/last.ts'
import { linearOp, linearWasm } from './linear/linear.ts'
import { logprobOp, logprobWasm } from './logprob/logprob.ts'
import type { Lowerings } from './lowering.ts'
import { rmsNormOp, rmsNormWasm } from './rmsnorm/rmsnorm.ts'
import { ropeOp, ropeWasm } from './rope/rope.ts'
import { sampleOp, sampleWasm } from './sample/sample.ts'
import { softcapOp, softcapWasm } from './softcap/softcap.ts'

export const wasmLowerings: Lowerings = new Map([
  [embedOp, embedWasm],
  [rmsNormOp, rmsNormWasm],
  [linearOp, linearWasm],
  [ropeOp, ropeWasm],
  [appendOp, appendWasm],
  [attentionOp, attentionWasm],
  [gegluOp, gegluWasm],
  [addOp, addWasm],
  [dropoutOp, dropoutWasm],
  [softcapOp, softcapWasm],
  [lastOp, lastWasm],
  [sampleOp, sampleWasm],
  [logprobOp, logprobWasm],
])
