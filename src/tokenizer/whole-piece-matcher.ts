// Finds the pieces that are matched whole wherever they stand in a text (user-defined pieces, and control
// pieces when asked), the longest first, as SentencePiece's prefix matcher does. A trie over bytes whose
// size follows that of the pieces. Knows nothing about merging.

import { matchText } from './piece-table.ts'

export interface WholePieceMatcher {
  /** [256], by first byte: 0 when no piece begins with it. */
  readonly begins: Uint8Array
  /** The id of the longest piece at text[from…to), or −1. */
  match(text: Uint8Array, from: number, to: number): number
  /** By id: bytes of the piece. */
  lengthOf(id: number): number
}

export function createWholePieceMatcher(
  pieces: readonly string[],
  chosen: readonly number[],
): WholePieceMatcher {
  const encoder = new TextEncoder()
  const spelled: { id: number; bytes: Uint8Array }[] = []
  let total = 0
  for (const id of chosen) {
    const text = matchText(pieces[id])
    if (text === undefined) continue
    const bytes = encoder.encode(text)
    total += bytes.length
    spelled.push({ id, bytes })
  }
  // A node is a byte with its first child and its next sibling; node 0 is the root, and 0 is none.
  const byteOf = new Uint8Array(total + 1)
  const firstChild = new Int32Array(total + 1)
  const nextSibling = new Int32Array(total + 1)
  const idAt = new Int32Array(total + 1).fill(-1)
  const lengthAt = new Map<number, number>()
  const begins = new Uint8Array(256)
  let nodes = 1
  const childOf = (node: number, byte: number): number => {
    let child = firstChild[node]
    while (child !== 0 && byteOf[child] !== byte) child = nextSibling[child]
    return child
  }
  for (const { id, bytes } of spelled) {
    begins[bytes[0]] = 1
    lengthAt.set(id, bytes.length)
    let node = 0
    for (const byte of bytes) {
      let child = childOf(node, byte)
      if (child === 0) {
        child = nodes++
        byteOf[child] = byte
        nextSibling[child] = firstChild[node]
        firstChild[node] = child
      }
      node = child
    }
    idAt[node] = id
  }
  const roots = new Int32Array(256)
  for (let byte = 0; byte < 256; byte++) roots[byte] = childOf(0, byte)
  return {
    begins,
    match(text, from, to) {
      let node = roots[text[from]]
      let found = idAt[node]
      for (let i = from + 1; i < to && node !== 0; i++) {
        node = childOf(node, text[i])
        if (node !== 0 && idAt[node] >= 0) found = idAt[node]
      }
      return found
    },
    lengthOf: (id) => lengthAt.get(id)!,
  }
}
