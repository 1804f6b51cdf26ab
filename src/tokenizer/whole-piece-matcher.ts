// Finds the pieces that are matched whole wherever they stand in a text (user-defined pieces, and control
// pieces when asked), the longest first, as SentencePiece's prefix matcher does. A trie over bytes whose
// size follows that of the pieces. Knows nothing about merging.

import { matchText } from './piece-table.ts'

export interface WholePieceMatcher {
  /** By first byte: 1 when a piece begins with it. */
  readonly begins: Uint8Array
  /** The id of the longest piece at text[from…], or −1. */
  match(text: Uint8Array, from: number, to: number): number
  /** By id: bytes of the piece. */
  lengthOf(id: number): number
}

export function createWholePieceMatcher(
  pieces: readonly string[],
  chosen: readonly number[],
): WholePieceMatcher {
  // A node is a byte with its first child and its next sibling; 0 is none (node 0 is the root).
  const byteOf: number[] = [0]
  const firstChild: number[] = [0]
  const nextSibling: number[] = [0]
  const idAt: number[] = [-1]
  const begins = new Uint8Array(256)
  const lengths = new Map<number, number>()
  const encoder = new TextEncoder()
  const childOf = (node: number, byte: number): number => {
    let child = firstChild[node]
    while (child !== 0 && byteOf[child] !== byte) child = nextSibling[child]
    return child
  }
  for (const id of chosen) {
    const text = matchText(pieces[id])
    if (text === undefined) continue
    const bytes = encoder.encode(text)
    lengths.set(id, bytes.length)
    begins[bytes[0]] = 1
    let node = 0
    for (const byte of bytes) {
      let child = childOf(node, byte)
      if (child === 0) {
        child = byteOf.length
        byteOf.push(byte)
        nextSibling.push(firstChild[node])
        firstChild.push(0)
        idAt.push(-1)
        firstChild[node] = child
      }
      node = child
    }
    idAt[node] = id
  }
  return {
    begins,
    match(text, from, to) {
      let node = 0
      let found = -1
      for (let i = from; i < to; i++) {
        node = childOf(node, text[i])
        if (node === 0) break
        if (idAt[node] >= 0) found = idAt[node]
      }
      return found
    },
    lengthOf: (id) => lengths.get(id) ?? 0,
  }
}
