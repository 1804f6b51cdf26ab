// One forward and backward pass of a small Gemma in jax-js on its WebAssembly backend, for bench/train.ts. It has no
// ready optimiser in this package, so its time is that of loss and gradients alone. Arguments: the folder where
// @jax-js/jax is installed, then hidden, intermediate, layers, heads, head size, vocabulary, documents, context, steps.
// Traced step by step: its jit cannot take the gradient of a look-up, and with one-hot products it was slower.

import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [folder, ...numbers] = process.argv.slice(2)
const [d, ff, layers, heads, hd, vocab, docs, context, steps] = numbers.map(Number)
const entry = createRequire(`${folder}/package.json`)
  .resolve('@jax-js/jax')
  .replace(/index\.cjs$/, 'index.js')
const {
  init,
  defaultDevice,
  numpy: np,
  nn,
  valueAndGrad,
  blockUntilReady,
  tree,
} = await import(pathToFileURL(entry).href)
await init('wasm')
defaultDevice('wasm')

const weight = (rows, columns) => {
  const values = Float32Array.from({ length: rows * columns }, () => (Math.random() - 0.5) * 0.07)
  return np.array(values).reshape([rows, columns])
}
const half = hd / 2
const angles = Float32Array.from(
  { length: context * half },
  (_, i) => Math.floor(i / half) * 10000 ** (-(i % half) / half),
)
const table = (f) => np.array(angles.map(f)).reshape([1, context, 1, half])
const [cos, sin] = [table(Math.cos), table(Math.sin)]
const parameters = {
  embedding: weight(vocab, d),
  final: np.zeros([d]),
  layers: Array.from({ length: layers }, () => ({
    n1: np.zeros([d]),
    q: weight(d, heads * hd),
    k: weight(d, hd),
    v: weight(d, hd),
    o: weight(heads * hd, d),
    n2: np.zeros([d]),
    g: weight(d, ff),
    u: weight(d, ff),
    w: weight(ff, d),
  })),
}

function norm(x, w) {
  const factor = np.reciprocal(np.sqrt(np.mean(np.square(x.ref), -1, { keepdims: true }).add(1e-6)))
  return x.mul(factor).mul(w.add(1))
}

function rope(x) {
  const [a, b] = np.split(x, 2, -1)
  const first = a.ref.mul(cos.ref).sub(b.ref.mul(sin.ref))
  return np.concatenate([first, a.mul(sin.ref).add(b.mul(cos.ref))], -1)
}

function lossOf(p, tokens, targets) {
  const rows = docs * context
  let x = np.take(p.embedding.ref, tokens, 0).mul(Math.sqrt(d))
  for (const layer of p.layers) {
    const h = norm(x.ref, layer.n1)
    const q = rope(np.matmul(h.ref, layer.q).reshape([docs, context, heads, hd]))
    const k = rope(np.matmul(h.ref, layer.k).reshape([docs, context, 1, hd]))
    const v = np.matmul(h, layer.v).reshape([docs, context, 1, hd])
    const mixed = nn.dotProductAttention(q, k, v, { isCausal: true }).reshape([rows, heads * hd])
    x = x.add(np.matmul(mixed, layer.o))
    const y = norm(x.ref, layer.n2)
    x = x.add(np.matmul(nn.gelu(np.matmul(y.ref, layer.g)).mul(np.matmul(y, layer.u)), layer.w))
  }
  const logits = np.matmul(norm(x, p.final), p.embedding.transpose())
  const logprobs = nn.logSoftmax(logits, -1)
  return np.mean(np.takeAlongAxis(logprobs, targets.reshape([rows, 1]), 1)).mul(-1)
}

const step = valueAndGrad(lossOf)
const randomTokens = () =>
  np.array(
    Int32Array.from({ length: docs * context }, () => Math.floor(Math.random() * vocab)),
    { dtype: np.int32 },
  )
const seconds = []
let loss = 0
for (let i = 0; i < steps + 2; i++) {
  const start = performance.now()
  const [value, gradients] = step(tree.ref(parameters), randomTokens(), randomTokens())
  loss = value.js()
  await blockUntilReady(gradients)
  tree.dispose(gradients)
  seconds.push((performance.now() - start) / 1000)
}
// Its first passes compile.
console.log(JSON.stringify({ seconds: seconds.slice(2), loss }))
process.exit(0)
