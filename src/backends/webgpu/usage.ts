// The numbers behind WebGPU's usage flags (W3C WebGPU, §5.1 and §9): where Dawn is a package of Node, no globals name them.

export const BUFFER = {
  MAP_READ: 0x1,
  COPY_SRC: 0x4,
  COPY_DST: 0x8,
  UNIFORM: 0x40,
  STORAGE: 0x80,
} as const

export const MAP_READ_MODE = 0x1

export const COMPUTE_STAGE = 0x4
