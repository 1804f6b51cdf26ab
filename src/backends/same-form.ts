// Which stored encodings are, byte for byte, what a backend computes with. Knows no backend.

import type { Dtype } from '../graph/dtype.ts'
import type { Encoding } from '../weights/checkpoint.ts'

export const SAME_FORM: Readonly<Partial<Record<Encoding, Dtype>>> = { F32: 'f32', BF16: 'bf16', F16: 'f16' }
