// Reads what torch.save writes since PyTorch 1.6: a ZIP archive with one pickle (`data.pkl`) that describes
// the tensors and one stored entry per storage. Yields named tensors with their place in the archive; knows
// nothing of Gemma's names. Layout: PyTorch's torch/serialization.py and torch/_utils.py.

import { GemmaError } from '../error.ts'
import type { Encoding } from './checkpoint.ts'
import type { FileTensor } from './collect.ts'
import { type PickleRules, type PickleValue, pickleName, readPickle } from './pickle.ts'
import { readBytes, type Source } from './source.ts'
import { readZip, type ZipEntry } from './zip.ts'

interface StorageType {
  readonly bytes: number
  readonly type: string
  readonly encoding?: Encoding
}

const storageTypes: Readonly<Record<string, StorageType>> = {
  'torch.FloatStorage': { bytes: 4, type: 'float32', encoding: 'F32' },
  'torch.HalfStorage': { bytes: 2, type: 'float16', encoding: 'F16' },
  'torch.BFloat16Storage': { bytes: 2, type: 'bfloat16', encoding: 'BF16' },
  'torch.CharStorage': { bytes: 1, type: 'int8', encoding: 'I8' },
  'torch.DoubleStorage': { bytes: 8, type: 'float64' },
  'torch.LongStorage': { bytes: 8, type: 'int64' },
  'torch.IntStorage': { bytes: 4, type: 'int32' },
  'torch.ShortStorage': { bytes: 2, type: 'int16' },
  'torch.ByteStorage': { bytes: 1, type: 'uint8' },
  'torch.BoolStorage': { bytes: 1, type: 'bool' },
  'torch.ComplexFloatStorage': { bytes: 8, type: 'complex64' },
  'torch.ComplexDoubleStorage': { bytes: 16, type: 'complex128' },
}

const dtypeNames = [
  'float32',
  'float16',
  'bfloat16',
  'int8',
  'float64',
  'int64',
  'int32',
  'bool',
  'complex64',
]

const allowedNames: ReadonlySet<string> = new Set([
  'collections.OrderedDict',
  'torch._utils._rebuild_tensor_v2',
  'torch._utils._rebuild_parameter',
  'torch.Size',
  ...Object.keys(storageTypes),
  ...dtypeNames.map((name) => `torch.${name}`),
])

/** A storage: a run of values of one type in one entry of the archive. */
interface Storage {
  readonly kind: 'storage'
  readonly type: StorageType
  readonly entry: ZipEntry
}

/** A tensor as the pickle describes it. */
interface TensorValue {
  readonly kind: 'tensor'
  readonly storage: Storage
  /** In values from the start of the storage. */
  readonly first: number
  readonly shape: readonly number[]
  readonly strides: readonly number[]
}

const maximumPickle = 64 * 1024 * 1024 // the largest Gemma's has about 200 kB

/** The tensors of a state dict, `{"model_state_dict": …}` or the dict itself. */
export async function readTorch(source: Source): Promise<FileTensor[]> {
  await refuseOtherFormats(source)
  const entries = await readZip(source)
  const pickles = [...entries.values()].filter(({ name }) => /^([^/]+\/)?data\.pkl$/.test(name))
  if (pickles.length !== 1) throw damaged(source, `it holds ${pickles.length} entries named data.pkl`)
  const [pickle] = pickles
  const prefix = pickle.name.slice(0, -'data.pkl'.length)
  await checkByteOrder(source, entries.get(`${prefix}byteorder`))
  if (pickle.size > maximumPickle) throw damaged(source, `its pickle has ${pickle.size} bytes`)
  const bytes = await readBytes(source, pickle.offset, pickle.size)
  const root = readPickle(bytes, torchRules(source, prefix, entries))
  return fileTensors(source, stateDict(source, root))
}

async function refuseOtherFormats(source: Source): Promise<void> {
  if (source.size < 22) throw damaged(source, `it has ${source.size} bytes`)
  const [a, b, c, d] = await readBytes(source, 0, 4)
  if (a === 0x50 && b === 0x4b && c === 3 && d === 4) return
  if (a !== 0x80) throw damaged(source, 'it does not begin as a ZIP archive')
  throw new GemmaError(
    'unsupported',
    `${source.name} is in torch's format from before version 1.6 (a bare pickle), which is not read here.`,
    'Load it with PyTorch and save it again, or get the weights as safetensors.',
  )
}

async function checkByteOrder(source: Source, entry: ZipEntry | undefined): Promise<void> {
  if (entry === undefined) return // written since torch 2.1 only; little before
  if (entry.size > 16) throw damaged(source, `${entry.name} has ${entry.size} bytes`)
  const order = new TextDecoder().decode(await readBytes(source, entry.offset, entry.size))
  if (order !== 'little') throw new GemmaError('unsupported', `${source.name} has the byte order ${order}.`)
}

function torchRules(source: Source, prefix: string, entries: ReadonlyMap<string, ZipEntry>): PickleRules {
  return {
    name: source.name,
    allowed: allowedNames,
    load: (id) => loadStorage(source, prefix, entries, id),
    reduce(callee, args) {
      if (callee === 'collections.OrderedDict') {
        if (args.length > 0) throw damaged(source, 'an OrderedDict is made from arguments')
        return new Map()
      }
      if (callee === 'torch._utils._rebuild_tensor_v2') return rebuildTensor(source, args)
      if (callee === 'torch._utils._rebuild_parameter' && isKind(args[0], 'tensor')) return args[0]
      if (callee === 'torch.Size' && Array.isArray(args[0])) return args[0]
      throw damaged(source, `its pickle calls ${callee} in a way torch does not`)
    },
  }
}

function isKind<T extends Storage | TensorValue>(value: PickleValue, kind: T['kind']): value is T {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === kind
}

/** The id is ('storage', storage type, key, device, number of values). */
function loadStorage(
  source: Source,
  prefix: string,
  entries: ReadonlyMap<string, ZipEntry>,
  id: PickleValue,
): Storage {
  const [kind, typeName, key, , count] = Array.isArray(id) ? id : []
  const type = storageTypes[pickleName(typeName) ?? '']
  if (kind !== 'storage' || type === undefined || typeof key !== 'string' || !isSize(count)) {
    throw damaged(source, 'its pickle refers to something that is not a storage')
  }
  const entry = entries.get(`${prefix}data/${key}`)
  if (entry === undefined) throw damaged(source, `the storage ${key.slice(0, 40)} is missing`)
  if (count * type.bytes !== entry.size) {
    throw damaged(
      source,
      `${entry.name} has ${entry.size} bytes; ${count} values of ${type.type} were expected`,
    )
  }
  return { kind: 'storage', type, entry }
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Arguments: storage, first value, shape, strides, requires_grad, hooks. */
function rebuildTensor(source: Source, args: readonly PickleValue[]): TensorValue {
  const [storage, first, shape, strides] = args
  const sound =
    isKind<Storage>(storage, 'storage') &&
    isSize(first) &&
    Array.isArray(shape) &&
    Array.isArray(strides) &&
    shape.length === strides.length &&
    shape.length <= 8 &&
    shape.every(isSize) &&
    strides.every(isSize)
  if (!sound) throw damaged(source, 'its pickle describes a tensor that cannot be')
  return { kind: 'tensor', storage, first, shape, strides }
}

function stateDict(source: Source, root: PickleValue): Map<PickleValue, PickleValue> {
  const inner = root instanceof Map ? (root.get('model_state_dict') ?? root) : root
  if (inner instanceof Map) return inner
  throw new GemmaError(
    'file',
    `${source.name} holds no state dict: expected {"model_state_dict": …} or a dict of tensors.`,
    'Save model.state_dict() with torch.save.',
  )
}

function fileTensors(source: Source, dict: Map<PickleValue, PickleValue>): FileTensor[] {
  const tensors: FileTensor[] = []
  for (const [name, value] of dict) {
    if (typeof name !== 'string') throw damaged(source, 'a tensor has a name that is not text')
    if (isKind<TensorValue>(value, 'tensor')) tensors.push(fileTensor(source, name, value))
  }
  return tensors
}

function fileTensor(source: Source, name: string, tensor: TensorValue): FileTensor {
  const { storage, first, shape, strides } = tensor
  const { type, entry } = storage
  const count = shape.reduce((product, side) => product * side, 1)
  const available = entry.size / type.bytes
  if (isContiguous(shape, strides)) {
    if (!Number.isSafeInteger(count) || first + count > available) {
      throw damaged(
        source,
        `${name} [${shape.join(', ')}] at ${first} passes its storage of ${available} values`,
      )
    }
  } else if (type.encoding !== undefined) {
    throw new GemmaError(
      'unsupported',
      `${source.name}: ${name} is not contiguous (shape [${shape.join(', ')}], strides [${strides.join(', ')}]).`,
      'Call .contiguous() on it before torch.save.',
    )
  }
  return {
    name,
    shape,
    encoding: type.encoding,
    type: type.type,
    source,
    offset: entry.offset + first * type.bytes,
  }
}

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false // the stride of a side of 1 is never used
    expected *= shape[i]
  }
  return true
}

function damaged(source: Source, what: string): GemmaError {
  return new GemmaError(
    'file',
    `${source.name} is not a sound torch checkpoint: ${what}.`,
    'It is truncated, damaged or something else; fetch it again.',
  )
}
