// What the person has set, kept between visits. Where the browser keeps nothing (a private window, storage that is
// switched off) settings last as long as the page.

import { useState } from 'preact/hooks'

/** State that survives a reload, under a key of this page. `read` turns what was kept into a value, or refuses it. */
export function useKept<T>(
  key: string,
  first: T,
  read: (value: unknown) => T | undefined,
): [T, (value: T) => void] {
  const [value, setValue] = useState<T>(() => read(recall(key)) ?? first)
  return [
    value,
    (next) => {
      setValue(next)
      remember(key, next)
    },
  ]
}

const NAME = 'gemma-ts'

function recall(key: string): unknown {
  try {
    const text = localStorage.getItem(`${NAME}.${key}`)
    return text === null ? undefined : JSON.parse(text)
  } catch {
    // Storage that is switched off throws; what an older page wrote may be unreadable. Either way: nothing is kept.
    return undefined
  }
}

function remember(key: string, value: unknown): void {
  try {
    localStorage.setItem(`${NAME}.${key}`, JSON.stringify(value))
  } catch {
    // As above; a full storage too must not stop a conversation.
  }
}
