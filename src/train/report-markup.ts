// HTML from templates that escape what is put into them, so that no recipe, prompt or text of a model can become
// part of the page. Knows nothing about what the page says.

/** Text that is HTML already. Only `html` and `trusted` make it. */
export interface Markup {
  readonly markup: string
}

type Insert = string | number | Markup | undefined | ReadonlyArray<Markup | undefined>

/** Strings and numbers are escaped (for elements and quoted attributes alike), markup goes in as it is. */
export function html(pieces: TemplateStringsArray, ...inserts: readonly Insert[]): Markup {
  const parts = pieces.map((piece, at) => (at < inserts.length ? piece + insert(inserts[at]) : piece))
  return { markup: parts.join('') }
}

/** For what this program has written itself: styles, scripts, paths of curves. */
export function trusted(markup: string): Markup {
  return { markup }
}

function insert(value: Insert): string {
  if (value === undefined) return ''
  if (typeof value === 'number') return String(value)
  if (typeof value === 'string') return escapeText(value)
  if ('markup' in value) return value.markup
  return value.map((one) => one?.markup ?? '').join('')
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Without what HTML has no place for: control characters (but tabs and line feeds) and halves of surrogate pairs. */
export function escapeText(text: string): string {
  return (
    text
      .toWellFormed()
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced
      .replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\ufffe\uffff]/g, '\ufffd')
      .replaceAll(/[&<>"']/g, (character) => ENTITIES[character])
  )
}

/** JSON that may stand in a script element: no `<` of it can end that element. */
export function embeddedJson(value: unknown): Markup {
  return trusted(JSON.stringify(value).replaceAll('<', '\\u003c'))
}

/** At most `most` characters; says so when it cuts. */
export function shorten(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most).toWellFormed()}…`
}
