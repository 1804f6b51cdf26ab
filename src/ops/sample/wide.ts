// 64-bit integers in WGSL, as vec2u(low, high).

export const WIDE: string = /* wgsl */ `
fn plus(a: vec2u, b: vec2u) -> vec2u {
  let low = a.x + b.x;
  return vec2u(low, a.y + b.y + select(0u, 1u, low < a.x));
}
fn minus(a: vec2u, b: vec2u) -> vec2u { return vec2u(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x)); }
fn above(a: vec2u, b: vec2u) -> bool { return a.y > b.y || (a.y == b.y && a.x > b.x); }
// The 64 bits of the product of two words.
fn product(a: u32, b: u32) -> vec2u {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let first = (a >> 16u) * (b & 0xffffu);
  let second = (a & 0xffffu) * (b >> 16u);
  let middle = (low >> 16u) + (first & 0xffffu) + (second & 0xffffu);
  return vec2u((middle << 16u) | (low & 0xffffu), (a >> 16u) * (b >> 16u) + (first >> 16u) + (second >> 16u) + (middle >> 16u));
}
// a · b, which is known to fit.
fn times(a: vec2u, b: u32) -> vec2u { return plus(product(a.x, b), vec2u(0u, a.y * b)); }
// a · b / 2³²
fn fraction(a: vec2u, b: u32) -> vec2u { return plus(product(a.y, b), vec2u(product(a.x, b).y, 0u)); }
// The most n ≤ limit with n · a ≤ b.
fn timesWithin(a: vec2u, b: vec2u, limit: u32) -> u32 {
  var n = 0u;
  for (var bit = 1u << 20u; bit > 0u; bit >>= 1u) {
    if (n + bit <= limit && !above(times(a, n + bit), b)) { n += bit; }
  }
  return n;
}
`
