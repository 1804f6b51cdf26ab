// Gradient of dropout: the same values are left out, by the same seed and salt.

import type { BackwardRule } from '../../graph/gradient.ts'
import { record } from '../../graph/tape.ts'
import { dropoutOp } from './dropout.ts'

export const dropoutBackward: BackwardRule = ({ inputs: [x], attributes }, [gradient], flow) => {
  if (flow.wants(x!)) flow.give(x!, record(flow.tape, dropoutOp, [gradient!], attributes)[0]!)
}
