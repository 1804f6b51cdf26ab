// The words that the small model knows names of things by: what variables are called, and what stories tell of.

/** Parts of the names of variables. */
export const nameWords: readonly string[] = [
  ...['user', 'name', 'count', 'list', 'item', 'total', 'price', 'order', 'date', 'time', 'file', 'path'],
  ...['line', 'page', 'index', 'value', 'key', 'map', 'set', 'size', 'width', 'height', 'color', 'text'],
  ...[
    'title',
    'label',
    'button',
    'form',
    'field',
    'input',
    'output',
    'error',
    'message',
    'event',
    'start',
    'end',
  ],
  ...['first', 'last', 'next', 'previous', 'old', 'new', 'max', 'min', 'sum', 'mean', 'rate', 'score'],
  ...[
    'level',
    'point',
    'group',
    'team',
    'member',
    'owner',
    'token',
    'model',
    'layer',
    'weight',
    'batch',
    'step',
  ],
  ...['loss', 'data', 'row', 'column', 'table', 'cell', 'node', 'tree', 'link', 'image', 'video', 'sound'],
  ...['is', 'has', 'can', 'get', 'make', 'find', 'load', 'save', 'read', 'write', 'open', 'close'],
  ...['red', 'blue', 'green', 'fast', 'slow', 'big', 'small', 'active', 'empty', 'valid', 'ready', 'done'],
]

/** Who stories are about. */
export const heroes: readonly string[] = [
  ...['fox', 'bear', 'frog', 'mouse', 'hare', 'crow', 'goat', 'duck', 'cat', 'dog', 'hen', 'wolf'],
  ...[
    'baker',
    'miller',
    'sailor',
    'king',
    'farmer',
    'painter',
    'tailor',
    'gardener',
    'shepherd',
    'teacher',
    'pilot',
    'queen',
  ],
]

export const objects: readonly string[] = [
  ...['drum', 'ring', 'kite', 'lamp', 'book', 'boat', 'bell', 'coat', 'key', 'hat', 'box', 'ball'],
  ...[
    'coin',
    'flute',
    'map',
    'chair',
    'shoe',
    'cup',
    'clock',
    'spoon',
    'basket',
    'candle',
    'mirror',
    'wheel',
  ],
]

/** Where stories happen, with the word that goes before. */
export const places: readonly string[] = [
  ...['in the forest', 'at the lake', 'in the garden', 'on the hill', 'by the river', 'in the snow'],
  ...[
    'at the market',
    'in the valley',
    'on the beach',
    'near the bridge',
    'in the village',
    'under the tree',
  ],
]

export const gladFeelings: readonly string[] = ['happy', 'glad', 'proud', 'merry']
export const sadFeelings: readonly string[] = ['sad', 'angry', 'worried', 'lonely']
export const feelings: readonly string[] = [...gladFeelings, ...sadFeelings]

export const looks: readonly string[] = [
  ...[
    'red',
    'blue',
    'green',
    'golden',
    'small',
    'big',
    'round',
    'shiny',
    'broken',
    'wooden',
    'heavy',
    'tiny',
  ],
]

export function capitalized(word: string): string {
  return word.slice(0, 1).toUpperCase() + word.slice(1)
}
