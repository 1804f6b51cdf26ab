// Where everything lies in the fixed first part of every memory. The host (backend.ts, memory.ts) and the kernels
// (runtime.wasm.ts) read this one table; it holds nothing but constants, so that AssemblyScript can compile it too.

/** Most rows that one run may have in any plan; inference takes fewer at a time (backend.ts). */
export const MOST_ROWS = 4096

// One number each: what changes from run to run.
export const RUN_ROWS = 1024
export const RUN_TEMPERATURE = 1028
export const RUN_TOP_K = 1032
export const RUN_SEED = 1036
export const RUN_TOP_P = 1040 // f64
export const RUN_SCALARS = 1056 // f32, at most sixteen

// Vector constants that inner loops need. V8 makes a constant anew at each use, three instructions each; a loaded
// one it keeps in a register.
export const NIBBLE_MASK = 1152
export const F16_MASK = 1168
export const F16_POWER = 1184
export const ONES = 1200
/** Thirteen vectors; the last is ROUND_MAGIC. */
export const EXP_CONSTANTS = 1216
/** 1.5 · 2²³: added to a small number it leaves the nearest integer in the lowest bits. */
export const ROUND_MAGIC = 1408
/** Constants of GELU: 0.044715 and −2√(2/π). */
export const GELU_CONSTANTS = 1424
export const HIGH_HALVES = 1456

/** Tables of AssemblyScript's mathematics library (scripts/build-kernels.ts). */
export const STATIC_DATA = 20480

// One entry per row.
export const RUN_TOKENS = 65536
export const RUN_POSITIONS = 81920
export const RUN_SEQUENCES = 98304
export const RUN_TARGETS = 114688
export const RUN_WEIGHTS = 131072
export const RUN_UNIFORM = 147456 // f64

/** Weights begin here. */
export const FIRST_ADDRESS = 196608
