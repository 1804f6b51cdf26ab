// What `gemma inspect` found, as people read it. Knows no file and no model.

import { formatContainer, formatModel } from '../format.ts'
import type { Inspection } from '../inspect.ts'
import { parseConfig } from '../model/config.ts'
import { formatBytes, formatCount, formatTable, type Style, styleFor } from './style.ts'

export function describeInspection(inspection: Inspection, style: Style = styleFor(process.stdout)): string {
  const blocks = [heading(inspection, style), ...dimensions(inspection), ...memory(inspection, style)]
  if (inspection.unknown.length > 0) {
    const some = inspection.unknown.slice(0, 5).join(', ')
    blocks.push(`${inspection.unknown.length} tensors are not used: ${some}`)
  }
  return `${blocks.join('\n\n')}\n`
}

function heading(inspection: Inspection, style: Style): string {
  const { model, generation, size, container, dtypes, bytes, downloadBytes } = inspection
  const known =
    generation === null ? 'configuration unknown before the download' : formatModel(generation, size)
  const types = dtypes === null ? '' : ` (${Object.keys(dtypes).join(', ')})`
  const where =
    downloadBytes === undefined
      ? `${container === null ? '' : formatContainer(container)}, ${formatBytes(bytes)} of weights${types}`
      : `not on this machine; ${formatBytes(downloadBytes)} to download`
  return `${style.bold(model)}\n${known}, ${where}`
}

function dimensions({ config: json, parameters }: Inspection): string[] {
  if (json === null || parameters === null) return []
  const config = parseConfig(json)
  const { numAttentionHeads, numKeyValueHeads, headDim, layerTypes, slidingWindow } = config
  const sliding = layerTypes.filter((type) => type === 'sliding').length
  const window = sliding === 0 ? '' : `, ${sliding} of them see ${formatCount(slidingWindow)} tokens`
  return [
    formatList([
      [
        'Parameters',
        `${formatCount(parameters.total)}, ${formatCount(parameters.embedding)} in the embedding`,
      ],
      ['Layers', `${config.numHiddenLayers}${window}`],
      ['Width', `${formatCount(config.hiddenSize)}, feed-forward ${formatCount(config.intermediateSize)}`],
      ['Heads', `${numAttentionHeads} for queries, ${numKeyValueHeads} for keys and values, ${headDim} wide`],
      ['Vocabulary', formatCount(config.vocabSize)],
      ['Context', `${formatCount(config.maxPositionEmbeddings)} tokens at most`],
    ]),
  ]
}

function formatList(entries: ReadonlyArray<readonly [string, string]>): string {
  const width = Math.max(...entries.map(([name]) => name.length))
  return entries.map(([name, value]) => `${name.padEnd(width)}   ${value}`).join('\n')
}

function memory({ memory: needs, contextLength, precisions }: Inspection, style: Style): string[] {
  if (needs === null || contextLength === null) return []
  const rows = precisions.map(({ dtype, weights, kv, total, fits }) => [
    dtype === 'auto' ? 'as stored' : dtype,
    formatBytes(weights),
    formatBytes(kv),
    formatBytes(total),
    fits ? 'yes' : 'no',
  ])
  const [head, ...lines] = formatTable([
    ['Precision', 'weights', 'cache', 'in all', 'fits here'],
    ...rows,
  ]).split('\n')
  const free = needs.available === null ? '' : `; ${formatBytes(needs.available)} are free on this machine`
  return [
    `Memory with ${formatCount(contextLength)} tokens of context (${formatBytes(needs.kvPerToken)} each)${free}`,
    [style.dim(head), ...lines].join('\n'),
  ]
}
