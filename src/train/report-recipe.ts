// Tells where the recipes of several runs differ. Reads the plain YAML that the trainer writes, by its indentation:
// what differs is shown to people and decides nothing. Knows no key of a recipe.

/** 'optimizer.name' → 'adamw', 'data.sources[0].path' → 'web.jsonl', … */
export function flattenRecipe(text: string): Map<string, string> {
  const values = new Map<string, string>()
  const open: { indent: number; name: string }[] = []
  const counts = new Map<string, number>()
  for (const line of text.split('\n')) {
    const match = /^(\s*)((?:- )*)([^\s#].*)$/.exec(line)
    if (match === null) continue
    const [, spaces, dashes, rest] = match
    const indent = spaces.length
    // A list may stand as far to the left as its key: items count as half a column further to the right.
    const deepest = dashes === '' ? indent - 0.5 : indent
    while (open.length > 0 && open.at(-1)!.indent > deepest) open.pop()
    if (dashes !== '') {
      const parent = join(open.map(({ name }) => name))
      const count = counts.get(parent) ?? 0
      counts.set(parent, count + 1)
      open.push({ indent: indent + 0.5, name: `[${count}]` })
    }
    const pair = /^([\w-]+|"[^"]*"|'[^']*'):(?:\s+(.*))?$/.exec(rest)
    const path = open.map(({ name }) => name)
    if (pair === null) {
      values.set(join(path) || rest, rest)
    } else if (pair[2] === undefined || pair[2] === '') {
      open.push({ indent: indent + dashes.length, name: pair[1] })
    } else {
      values.set(join([...path, pair[1]]), pair[2])
    }
  }
  return values
}

function join(path: readonly string[]): string {
  return path.join('.').replaceAll('.[', '[')
}

/** The keys whose values are not the same in all recipes, with one value (or '–') per recipe. */
export function recipeDifferences(recipes: ReadonlyArray<string | undefined>): [string, string[]][] {
  const flat = recipes.map((text) => flattenRecipe(text ?? ''))
  const keys = new Set(flat.flatMap((values) => [...values.keys()]))
  return [...keys]
    .filter((key) => key !== 'output') // two runs never share it
    .map((key): [string, string[]] => [key, flat.map((values) => values.get(key) ?? '–')])
    .filter(([, values]) => new Set(values).size > 1)
}
