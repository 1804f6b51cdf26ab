// Writes the report of training runs: reads what they recorded, writes one page of HTML. Node only.

import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { GemmaError } from '../error.ts'
import { writeAtomically } from '../weights/atomic.node.ts'
import { fileError } from '../weights/source.node.ts'
import { readRun, readSamples } from './metrics-read.node.ts'
import { MOST_RUNS, renderReport } from './report-page.ts'
import type { ReportedRun } from './report-run.ts'
import { SCRIPT } from './report-script.ts'

const RECIPE_FILE = 'recipe.resolved.yaml'
/** As much of a recipe as a page could show. */
const MOST_RECIPE_BYTES = 64 * 1024

/**
 * Writes the report of a run, or of several side by side, as one HTML file that needs nothing else. Without `out` it
 * is RUN/report.html, or comparison.html in the first of several. Returns its path. Throws GemmaError 'file' when a
 * directory holds no run or the page cannot be written, 'usage' for no run or too many.
 */
export async function writeReport(runDirectory: string | readonly string[], out?: string): Promise<string> {
  const directories = typeof runDirectory === 'string' ? [runDirectory] : runDirectory
  if (directories.length === 0 || directories.length > MOST_RUNS) {
    throw new GemmaError(
      'usage',
      `A report takes 1 to ${MOST_RUNS} runs; ${directories.length} were given.`,
      "Name the runs' directories.",
    )
  }
  const path = out ?? join(directories[0], directories.length === 1 ? 'report.html' : 'comparison.html')
  const runs: Omit<ReportedRun, 'label'>[] = []
  for (const directory of directories) {
    const history = await readRun(directory)
    runs.push({ history, samples: await readSamples(directory), recipe: await readRecipe(directory) })
  }
  const names = runs.map(({ history }) => history.name)
  // Runs of one name are told apart by where they are.
  const labels = runs.map(({ history }, at) =>
    names.indexOf(names[at]) === names.lastIndexOf(names[at]) ? names[at] : history.directory,
  )
  const hash = createHash('sha256').update(SCRIPT).digest('base64')
  const page = renderReport(
    runs.map((run, at) => ({ ...run, label: labels[at] })),
    hash,
  )
  await writeAtomically(path, (file) => file.write(Buffer.from(page)))
  return path
}

async function readRecipe(directory: string): Promise<string | undefined> {
  const path = join(directory, RECIPE_FILE)
  try {
    const handle = await open(path, 'r')
    try {
      if (!(await handle.stat()).isFile()) throw new GemmaError('file', `${path} is not a regular file.`)
      const { buffer, bytesRead } = await handle.read(
        Buffer.alloc(MOST_RECIPE_BYTES),
        0,
        MOST_RECIPE_BYTES,
        0,
      )
      return buffer.toString('utf8', 0, bytesRead)
    } finally {
      await handle.close()
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw fileError(path, cause)
  }
}
