// Which combinations a model may see while it learns. Some pairs of words, and some additions, are kept from
// the training documents altogether: what a model makes of them shows whether it learned rules or examples.

/** 'seen': only what training documents may have; 'unseen': only what is kept from them; 'all': both. */
export type Split = 'seen' | 'unseen' | 'all'

/** The items that a split may use. */
export function allowed<Item>(
  split: Split,
  items: readonly Item[],
  isUnseen: (item: Item) => boolean,
): readonly Item[] {
  return split === 'all' ? items : items.filter((item) => isUnseen(item) === (split === 'unseen'))
}
