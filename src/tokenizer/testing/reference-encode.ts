// SentencePiece's byte-pair encoding straight from its definition, as slow as that is: the oracle of the
// tests. Shares no code with the encoder.

import { PIECE_TYPE, type Vocabulary } from '../vocabulary.ts'

export function createReferenceEncode(
  vocabulary: Vocabulary,
): (text: string, parseControl?: boolean) => number[] {
  const { pieces, types, scores, unkId } = vocabulary
  const normal = new Map<string, number>()
  const byteIds = new Map<number, number>()
  const whole: string[] = []
  const control: string[] = []
  const ids = new Map(pieces.map((piece, id) => [piece, id]))
  pieces.forEach((piece, id) => {
    if (types[id] === PIECE_TYPE.normal) normal.set(piece, id)
    else if (types[id] === PIECE_TYPE.byte) byteIds.set(Number.parseInt(piece.slice(3, 5), 16), id)
    else if (types[id] === PIECE_TYPE.userDefined) whole.push(piece)
    else if (types[id] !== PIECE_TYPE.unused) control.push(piece)
  })

  return (text, parseControl = false) => {
    const spaced = text.toWellFormed().replaceAll(' ', '\u2581')
    const candidates = parseControl ? [...whole, ...control] : whole
    const symbols: { text: string; frozen: boolean }[] = []
    for (let i = 0; i < spaced.length; ) {
      let longest = ''
      for (const piece of candidates) {
        if (piece.length > longest.length && spaced.startsWith(piece, i)) longest = piece
      }
      const symbol = longest || String.fromCodePoint(spaced.codePointAt(i)!)
      symbols.push({ text: symbol, frozen: longest !== '' })
      i += symbol.length
    }
    for (;;) {
      let best = -1
      let bestScore = Number.NEGATIVE_INFINITY
      for (let k = 0; k + 1 < symbols.length; k++) {
        if (symbols[k].frozen || symbols[k + 1].frozen) continue
        const id = normal.get(symbols[k].text + symbols[k + 1].text)
        if (id !== undefined && scores[id] > bestScore) {
          best = k
          bestScore = scores[id]
        }
      }
      if (best < 0) break
      symbols.splice(best, 2, { text: symbols[best].text + symbols[best + 1].text, frozen: false })
    }
    const output: number[] = []
    let afterUnknown = false
    for (const symbol of symbols) {
      const id = symbol.frozen ? ids.get(symbol.text) : normal.get(symbol.text)
      if (id !== undefined) output.push(id)
      else if (byteIds.size > 0)
        for (const byte of new TextEncoder().encode(symbol.text)) output.push(byteIds.get(byte)!)
      else if (!afterUnknown) output.push(unkId)
      afterUnknown = id === undefined
    }
    return output
  }
}
