// Generated documents for the tests of training: the same for a seed, with words of several scripts, marks, digits,
// runs of white space, tags and what stands for control pieces. Knows nothing about what is learned from them.

const WORDS: readonly string[] = [
  ...words('the of and to in that with was for water river stone'),
  ...words('walk walks walked walking read reads reader reading light lighter lightly'),
  ...words('don’t it’s café naïve élève über straße'),
  ...words('вода река камень читать читает'),
  ...words('日本語 漢字かな カタカナー 東京 水'),
  ...words('पानी नदी العربية כתב 한국어 물'),
  ...words('e\u0301tude o\u0302te \u0301 !\u0301a 1\u0301 a\u200db'),
  ...words('1 42 2024 3.14 x1 v2b ０１２ 9a'),
  ...words('. , ; ... () [] {} // <b> </b> <table> <unused7> <start_of_turn> <bos> <0x41> <unk>'),
  ...words('😀 👍🏽 🚀 ▁ \ud83d'),
]
const BETWEEN: readonly string[] = [
  ' ',
  ' ',
  ' ',
  ' ',
  ' ',
  '',
  '  ',
  '    ',
  '\n',
  '\n\n',
  '\t',
  '\t\t',
  ' \n',
  '\r\n',
]

export function testDocuments(count: number, seed: number): string[] {
  const random = generator(seed)
  const pick = (list: readonly string[], bend: number): string =>
    list[Math.floor(list.length * random() ** bend)]
  return Array.from({ length: count }, () => {
    let text = ''
    for (let left = 1 + Math.floor(40 * random()); left > 0; left--) {
      text += pick(WORDS, 2) + pick(BETWEEN, 1)
    }
    return `${text}end.`
  })
}

function words(text: string): string[] {
  return text.split(' ')
}

/** Mulberry32: numbers from 0 up to 1. */
export function generator(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
