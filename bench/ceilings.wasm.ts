// What this machine can do at most in WebAssembly: kernels that only read, or only multiply and add in registers.
// AssemblyScript, built by ceilings.ts. Each returns nothing but leaves its sums in memory, so that no compiler
// may leave the work out.

/** Reads `bytes` (a multiple of 256) from `at` in one stream. */
export function read(at: usize, bytes: usize, sink: usize): void {
  let a = i64x2.splat(0)
  let b = a
  let c = a
  let d = a
  for (const end = at + bytes; at < end; at += 256) {
    a = v128.or(v128.or(a, v128.load(at)), v128.or(v128.load(at, 16), v128.load(at, 32)))
    b = v128.or(v128.or(b, v128.load(at, 48)), v128.or(v128.load(at, 64), v128.load(at, 80)))
    c = v128.or(v128.or(c, v128.load(at, 96)), v128.or(v128.load(at, 112), v128.load(at, 128)))
    d = v128.or(v128.or(d, v128.load(at, 144)), v128.or(v128.load(at, 160), v128.load(at, 176)))
    a = v128.or(a, v128.or(v128.load(at, 192), v128.load(at, 208)))
    b = v128.or(b, v128.or(v128.load(at, 224), v128.load(at, 240)))
  }
  v128.store(sink, v128.or(v128.or(a, b), v128.or(c, d)))
}

/** The same in two streams, half the bytes each: some memories are faster so. */
export function read2(at: usize, bytes: usize, sink: usize): void {
  const half = bytes >> 1
  let a = i64x2.splat(0)
  let b = a
  let c = a
  let d = a
  for (const end = at + half; at < end; at += 128) {
    a = v128.or(v128.or(a, v128.load(at)), v128.or(v128.load(at, 16), v128.load(at, 32)))
    b = v128.or(v128.or(b, v128.load(at, 48)), v128.or(v128.load(at, 64), v128.load(at, 80)))
    a = v128.or(a, v128.or(v128.load(at, 96), v128.load(at, 112)))
    const other = at + half
    c = v128.or(v128.or(c, v128.load(other)), v128.or(v128.load(other, 16), v128.load(other, 32)))
    d = v128.or(v128.or(d, v128.load(other, 48)), v128.or(v128.load(other, 64), v128.load(other, 80)))
    c = v128.or(c, v128.or(v128.load(other, 96), v128.load(other, 112)))
  }
  v128.store(sink, v128.or(v128.or(a, b), v128.or(c, d)))
}

/** `rounds` times ten multiply-adds of four f32: 40 products a round. */
export function multiplyAdd(seed: usize, rounds: i32, sink: usize): void {
  const x = v128.load(seed)
  const y = v128.load(seed, 16)
  let a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x
  for (let round = 0; round < rounds; round++) {
    a = f32x4.relaxed_madd(x, y, a)
    b = f32x4.relaxed_madd(x, y, b)
    c = f32x4.relaxed_madd(x, y, c)
    d = f32x4.relaxed_madd(x, y, d)
    e = f32x4.relaxed_madd(x, y, e)
    f = f32x4.relaxed_madd(x, y, f)
    g = f32x4.relaxed_madd(x, y, g)
    h = f32x4.relaxed_madd(x, y, h)
    i = f32x4.relaxed_madd(x, y, i)
    j = f32x4.relaxed_madd(x, y, j)
  }
  v128.store(sink, f32x4.add(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)), f32x4.add(f32x4.add(e, f), f32x4.add(g, h))))
  v128.store(sink, f32x4.add(v128.load(sink), f32x4.add(i, j)))
}

/** `rounds` times ten dot products of sixteen bytes into four 32-bit sums: 160 products a round. */
export function dot(seed: usize, rounds: i32, sink: usize): void {
  const x = v128.load(seed)
  const y = v128.load(seed, 16)
  let a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x
  for (let round = 0; round < rounds; round++) {
    a = i32x4.relaxed_dot_i8x16_i7x16_add_s(x, y, a)
    b = i32x4.relaxed_dot_i8x16_i7x16_add_s(x, y, b)
    c = i32x4.relaxed_dot_i8x16_i7x16_add_s(x, y, c)
    d = i32x4.relaxed_dot_i8x16_i7x16_add_s(x, y, d)
    e = i32x4.relaxed_dot_i8x16_i7x16_add_s(x, y, e)
    f = i32x4.relaxed_dot_i8x16_i7x16_add_s(x, y, f)
    g = i32x4.relaxed_dot_i8x16_i7x16_add_s(x, y, g)
    h = i32x4.relaxed_dot_i8x16_i7x16_add_s(x, y, h)
    i = i32x4.relaxed_dot_i8x16_i7x16_add_s(x, y, i)
    j = i32x4.relaxed_dot_i8x16_i7x16_add_s(x, y, j)
  }
  v128.store(sink, i32x4.add(i32x4.add(i32x4.add(a, b), i32x4.add(c, d)), i32x4.add(i32x4.add(e, f), i32x4.add(g, h))))
  v128.store(sink, i32x4.add(v128.load(sink), i32x4.add(i, j)))
}

/**
 * `rounds` times sixteen dot products of sixteen bytes into eight 16-bit sums of pairs, which processors without
 * VNNI do in two instructions: 256 products a round. Sums are operands, or one product would be made once and kept.
 */
export function dotPairs(seed: usize, rounds: i32, sink: usize): void {
  const y = v128.load(seed)
  const z = v128.load(seed, 16)
  let a = y, b = y, c = y, d = y, e = y, f = y, g = y, h = y
  for (let round = 0; round < rounds; round++) {
    a = twoPairs(a, y, z)
    b = twoPairs(b, y, z)
    c = twoPairs(c, y, z)
    d = twoPairs(d, y, z)
    e = twoPairs(e, y, z)
    f = twoPairs(f, y, z)
    g = twoPairs(g, y, z)
    h = twoPairs(h, y, z)
  }
  v128.store(sink, i16x8.add(i16x8.add(i16x8.add(a, b), i16x8.add(c, d)), i16x8.add(i16x8.add(e, f), i16x8.add(g, h))))
}

// @ts-ignore: decorator
@inline
function twoPairs(sum: v128, y: v128, z: v128): v128 {
  const first = i16x8.relaxed_dot_i8x16_i7x16_s(sum, y)
  return i16x8.add(i16x8.add(sum, i16x8.relaxed_dot_i8x16_i7x16_s(sum, z)), first)
}
