// A kernel as an op writes it: what it reads and writes by name, its numbers, and the WGSL of its body. The declarations are
// written from these, so that kernel, lowering and backend cannot disagree. Knows no op.

export type Scalar = 'u32' | 'i32' | 'f32'

export interface Kernel<B extends string = string, N extends string = string> {
  readonly name: string
  /** Names of the storage buffers in the order of their bindings; what is read comes first. */
  readonly reads: readonly B[]
  readonly writes: readonly B[]
  /** Constants of a dispatch, the binding after the buffers. */
  readonly numbers: readonly (readonly [N, Scalar])[]
  /** The whole WGSL text; its entry point is main. */
  readonly text: string
  /** The same for devices with subgroups, where it is another. */
  readonly subgroupText?: string
}

/**
 * WGSL in two forms, for devices without subgroups and with them. The second may use `subgroupLane`, `subgroupIndex` and
 * `subgroupLanes`: the place within the subgroup, the subgroup's number and its size, 4 to 128.
 */
export interface TwoForms {
  readonly plain: string
  readonly subgroups: string
}

export interface KernelParts<R extends string, W extends string, N extends string> {
  /** Element type of each array. */
  readonly reads: Readonly<Record<R, string>>
  readonly writes: Readonly<Record<W, string>>
  readonly numbers: Readonly<Record<N, Scalar>>
  /** Invocations of a workgroup. */
  readonly size: number
  /** Functions and workgroup variables that come before main. */
  readonly functions?: readonly (string | TwoForms)[]
  /** The body of main, which has group, groups, id (of the invocation over all workgroups) and lane (in its own). */
  readonly main: string
}

/** No buffers more: for kernels of which some forms have a buffer that others lack. */
export const NONE: Readonly<Record<string, string>> = {}

/** What a run brings: see backends/webgpu/run-inputs.ts, which writes it. */
const RUN = /* wgsl */ `
struct Run { rows: u32, seed: u32, topK: u32, topP: u32, temperature: f32, limited: u32, scalars: array<vec4f, 4> }
struct Row { token: i32, position: i32, sequence: i32, wanted: i32, weight: f32, uniformBits: u32 }
@group(1) @binding(0) var<uniform> run: Run;
@group(1) @binding(1) var<storage, read> runRows: array<Row>;
`

/** Workgroups have one dimension: subgroups take their invocations in order, on every device that is known. */
const SUBGROUP = {
  variables:
    'var<private> subgroupLane: u32; var<private> subgroupIndex: u32; var<private> subgroupLanes: u32;',
  parameters: '  @builtin(subgroup_invocation_id) ownLane: u32, @builtin(subgroup_size) ownLanes: u32,',
  start: ' subgroupLane = ownLane; subgroupIndex = lane / ownLanes; subgroupLanes = ownLanes;',
} as const

export function kernel<R extends string, W extends string, N extends string>(
  name: string,
  { reads, writes, numbers, size, functions = [], main }: KernelParts<R, W, N>,
): Kernel<R | W, N> {
  const names = { reads: keys(reads), writes: keys(writes), numbers: keys(numbers) }
  const buffers = [
    ...names.reads.map((key) => ['read', key, reads[key]] as const),
    ...names.writes.map((key) => ['read_write', key, writes[key]] as const),
  ]
  const declarations = buffers.map(
    ([access, key, type], i) => `@group(0) @binding(${i}) var<storage, ${access}> ${key}: array<${type}>;`,
  )
  const fields = names.numbers.map((key) => `${key}: ${numbers[key]}`).join(', ')
  const textOf = (subgroups: boolean): string =>
    [
      ...(subgroups ? ['enable subgroups;'] : []),
      ...declarations,
      `struct Numbers { ${fields} }`,
      `@group(0) @binding(${buffers.length}) var<uniform> numbers: Numbers;`,
      RUN,
      ...(subgroups ? [SUBGROUP.variables] : []),
      ...functions.map((one) => (typeof one === 'string' ? one : subgroups ? one.subgroups : one.plain)),
      `@compute @workgroup_size(${size}) fn main(`,
      '  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,',
      '  @builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32,',
      ...(subgroups ? [SUBGROUP.parameters] : []),
      `) {${subgroups ? SUBGROUP.start : ''}${main}}`,
    ].join('\n')
  return {
    name,
    reads: names.reads,
    writes: names.writes,
    numbers: names.numbers.map((key) => [key, numbers[key]] as const),
    text: textOf(false),
    ...(functions.some((one) => typeof one !== 'string') && { subgroupText: textOf(true) }),
  }
}

function keys<K extends string>(record: Readonly<Record<K, unknown>>): K[] {
  return Object.keys(record) as K[]
}

/** A kernel for each of a few forms, made when it is first asked for. */
export function kernelOf<A extends readonly unknown[], K extends Kernel>(
  make: (...form: A) => K,
): (...form: A) => K {
  const made = new Map<string, K>()
  return (...form) => {
    const key = form.join(' ')
    const known = made.get(key) ?? make(...form)
    made.set(key, known)
    return known
  }
}
