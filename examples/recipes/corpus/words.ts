// The small world that the nano corpus tells of: who lives in it, what they have, what they feel. Everything here
// is ours; its people are roles. What is said of a hero is the same in every document: knowledge that a model can
// learn in pre-training and be asked for after fine-tuning.

export interface Hero {
  readonly name: string
  readonly home: string
  readonly food: string
}

/** [name, home, food] */
const heroTable: readonly (readonly [string, string, string])[] = [
  ['fox', 'under the bridge', 'plums'],
  ['bear', 'in a cave', 'honey'],
  ['frog', 'by the pond', 'flies'],
  ['mouse', 'behind the stove', 'cheese'],
  ['hare', 'in the field', 'clover'],
  ['crow', 'in a tall tree', 'seeds'],
  ['goat', 'on the hill', 'grass'],
  ['duck', 'near the river', 'snails'],
  ['cat', 'on the roof', 'fish'],
  ['dog', 'in the yard', 'bones'],
  ['baker', 'over the shop', 'bread'],
  ['miller', 'in the mill', 'soup'],
  ['sailor', 'on a ship', 'beans'],
  ['king', 'in a castle', 'cake'],
  ['farmer', 'beside the barn', 'corn'],
  ['painter', 'in a tower', 'pears'],
  ['tailor', 'at the market', 'rice'],
  ['gardener', 'among the roses', 'nuts'],
  ['shepherd', 'in a hut', 'milk'],
  ['teacher', 'next to the school', 'apples'],
]

export const heroes: readonly Hero[] = heroTable.map(([name, home, food]) => ({ name, home, food }))

export const objects: readonly string[] = [
  ...['drum', 'ring', 'kite', 'lamp', 'book', 'boat', 'bell', 'coat', 'key', 'hat'],
  ...['box', 'ball', 'coin', 'flute', 'map', 'chair', 'shoe', 'cup', 'clock', 'spoon'],
]

export const looks: readonly string[] = [
  ...['red', 'blue', 'green', 'golden', 'small', 'big', 'round', 'shiny', 'broken', 'warm'],
]

export const times: readonly string[] = ['morning', 'evening', 'night', 'day', 'winter', 'summer']

export const places: readonly string[] = [
  ...['behind the wall', 'in the snow', 'on the road', 'under a stone', 'in the forest'],
  ...['beside the well', 'at the lake', 'in the garden'],
]

/** What a hero does to a thing, and how that feels. */
export const events: readonly (readonly { readonly verb: string; readonly feelings: readonly string[] }[])[] =
  [
    ['found', 'made', 'saw', 'bought'].map((verb) => ({
      verb,
      feelings: ['happy', 'glad', 'proud', 'merry'],
    })),
    ['lost', 'dropped', 'forgot', 'missed'].map((verb) => ({
      verb,
      feelings: ['sad', 'angry', 'worried', 'sorry'],
    })),
  ]

export interface Noun {
  readonly one: string
  readonly many: string
}

export const nouns: readonly Noun[] = [
  ...['price', 'page', 'score', 'point', 'step', 'week', 'file', 'line', 'user', 'name'],
].map((one) => ({ one, many: `${one}s` }))

export const totals: readonly string[] = ['total', 'sum', 'result', 'all']

export function capitalized(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}
