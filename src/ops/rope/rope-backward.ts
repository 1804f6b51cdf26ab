// Gradient of a rotation: the rotation back (its matrix is orthogonal).

import type { BackwardRule } from '../../graph/gradient.ts'
import { rope } from './rope.ts'

export const ropeBackward: BackwardRule = ({ inputs: [x, table], attributes }, [gradient], flow) => {
  if (flow.wants(x!)) flow.give(x!, rope(flow.tape, gradient!, table!, attributes.inverse !== true))
}
