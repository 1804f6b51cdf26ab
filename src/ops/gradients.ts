// Every op's rule for the way back. Only training reads this table; what serves inference does not carry it.

import type { BackwardRules } from '../graph/gradient.ts'
import { addOp } from './add/add.ts'
import { addBackward } from './add/add-backward.ts'
import { dropoutOp } from './dropout/dropout.ts'
import { dropoutBackward } from './dropout/dropout-backward.ts'
import { embedOp } from './embed/embed.ts'
import { embedBackward } from './embed/embed-backward.ts'
import { gegluOp } from './geglu/geglu.ts'
import { gegluBackward } from './geglu/geglu-backward.ts'
import { exactLinearBackward, exactLinearOp } from './linear/linear-backward.ts'
import { rmsNormOp } from './rmsnorm/rmsnorm.ts'
import { rmsNormBackward } from './rmsnorm/rmsnorm-backward.ts'
import { ropeOp } from './rope/rope.ts'
import { ropeBackward } from './rope/rope-backward.ts'
import { rowAttentionBackward, rowAttentionOp } from './row-attention/row-attention.ts'
import { softcapOp } from './softcap/softcap.ts'
import { softcapBackward } from './softcap/softcap-backward.ts'

export const backwardRules: BackwardRules = new Map([
  [embedOp, embedBackward],
  [rmsNormOp, rmsNormBackward],
  [exactLinearOp, exactLinearBackward],
  [ropeOp, ropeBackward],
  [rowAttentionOp, rowAttentionBackward],
  [gegluOp, gegluBackward],
  [addOp, addBackward],
  [softcapOp, softcapBackward],
  [dropoutOp, dropoutBackward],
])
