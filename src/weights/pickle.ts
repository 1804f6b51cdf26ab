// Reads Python pickles that hold plain data and the few things a caller allows. A pickle is a program for a
// small stack machine; the dangerous part is that it may name any Python function and call it. Here names
// outside the caller's list are refused before anything else happens, and nothing is ever executed: calls
// go to a function of the caller's that builds values. Opcodes: CPython's Lib/pickletools.py.
//
// Every opcode takes at least one byte and adds at most one value to stack and memo, so time and memory
// stay in proportion to the pickle; nothing here recurses, so depth costs nothing.

import { GemmaError } from '../error.ts'

/** Strings, numbers, booleans, null, arrays (list, tuple), Maps (dict), and what `reduce` and `load` return. */
export type PickleValue = unknown

export interface PickleRules {
  /** For messages. */
  readonly name: string
  /** Full names ('collections.OrderedDict') that may be mentioned. */
  readonly allowed: ReadonlySet<string>
  /** The value of a call of an allowed name. */
  reduce(callee: string, args: readonly PickleValue[]): PickleValue
  /** The value of a persistent id. */
  load(id: PickleValue): PickleValue
}

/** An allowed name, mentioned but not called. */
export interface PickleName {
  readonly pickleName: string
}

/** The mentioned name, if the value is one. */
export function pickleName(value: PickleValue): string | undefined {
  const name = (value as PickleName | null | undefined)?.pickleName
  return typeof name === 'string' && !(value instanceof Map) ? name : undefined
}

interface Machine {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly rules: PickleRules
  readonly stack: PickleValue[]
  readonly marks: number[]
  readonly memo: Map<number, PickleValue>
  at: number
}

/** Reads one pickle, protocol 2 to 5. Throws GemmaError for a broken or disallowed one. */
export function readPickle(bytes: Uint8Array, rules: PickleRules): PickleValue {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const machine: Machine = { bytes, view, rules, stack: [], marks: [], memo: new Map(), at: 0 }
  while (true) {
    const code = bytes[take(machine, 1)]
    if (code === 0x2e /* STOP */) {
      if (machine.stack.length !== 1 || machine.marks.length > 0)
        throw broken(machine, 'it ends with values left over')
      return machine.stack[0]
    }
    const step = steps.get(code)
    if (step === undefined)
      throw broken(machine, `its opcode 0x${code.toString(16).padStart(2, '0')} is not allowed`)
    step(machine)
  }
}

function broken(machine: Machine, what: string): GemmaError {
  return new GemmaError(
    'file',
    `${machine.rules.name}: the pickle cannot be read: at byte ${machine.at}, ${what}.`,
    'The file is damaged or is not a plain checkpoint.',
  )
}

/** Advances by `count` bytes and returns where they begin. */
function take(machine: Machine, count: number): number {
  const at = machine.at
  if (count > machine.bytes.length - at) throw broken(machine, 'it ends too early')
  machine.at = at + count
  return at
}

function pop(machine: Machine): PickleValue {
  const floor = machine.marks.at(-1) ?? 0
  if (machine.stack.length <= floor) throw broken(machine, 'it takes a value that is not there')
  return machine.stack.pop()
}

function top(machine: Machine): PickleValue {
  const floor = machine.marks.at(-1) ?? 0
  if (machine.stack.length <= floor) throw broken(machine, 'it takes a value that is not there')
  return machine.stack.at(-1)
}

function popMark(machine: Machine): PickleValue[] {
  const mark = machine.marks.pop()
  if (mark === undefined) throw broken(machine, 'it takes a mark that is not there')
  return machine.stack.splice(mark)
}

function utf8(machine: Machine, length: number): string {
  const at = take(machine, length)
  return new TextDecoder().decode(machine.bytes.subarray(at, at + length))
}

function line(machine: Machine): string {
  const end = machine.bytes.indexOf(0x0a, machine.at)
  if (end === -1) throw broken(machine, 'a line does not end')
  const text = utf8(machine, end - machine.at)
  machine.at++
  return text
}

function length64(machine: Machine): number {
  return Number(machine.view.getBigUint64(take(machine, 8), true)) // past 2^53 it is past the end as well
}

function long(machine: Machine, length: number): number {
  if (length > 8) throw broken(machine, `an integer has ${length} bytes`)
  const at = take(machine, length)
  let value = 0n
  for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(machine.bytes[at + i])
  const signed = Number(BigInt.asIntN(8 * length, value))
  if (!Number.isSafeInteger(signed)) throw broken(machine, `the integer ${signed} is too large`)
  return signed
}

function mention(machine: Machine, module: string, name: string): PickleName {
  const full = `${module}.${name}`
  if (!machine.rules.allowed.has(full)) {
    throw new GemmaError(
      'file',
      `${machine.rules.name}: the pickle names ${full.slice(0, 200)}, which a checkpoint has no use for; it was not run.`,
      'Do not trust this file: torch.load would have called it. Get the weights as safetensors.',
    )
  }
  return { pickleName: full }
}

function memoGet(machine: Machine, key: number): PickleValue {
  if (!machine.memo.has(key)) throw broken(machine, `it recalls ${key}, which was not stored`)
  return machine.memo.get(key)
}

function setItems(machine: Machine, target: PickleValue, items: readonly PickleValue[]): void {
  if (!(target instanceof Map) || items.length % 2 !== 0) throw broken(machine, 'items are set in no dict')
  for (let i = 0; i < items.length; i += 2) {
    const key = items[i]
    if (typeof key === 'object' && key !== null) throw broken(machine, 'a dict key is not a plain value')
    target.set(key, items[i + 1])
  }
}

function append(machine: Machine, target: PickleValue, items: readonly PickleValue[]): void {
  if (!Array.isArray(target)) throw broken(machine, 'items are appended to no list')
  for (const item of items) target.push(item)
}

function reduce(machine: Machine): PickleValue {
  const args = pop(machine)
  const callee = pickleName(pop(machine))
  if (callee === undefined || !Array.isArray(args))
    throw broken(machine, 'it calls something that is not a name')
  return machine.rules.reduce(callee, args)
}

// torch sets one attribute, `_metadata`, on the OrderedDict of a state dict; it is of no use here. State
// for anything else could only serve to change an object's behaviour.
function build(machine: Machine): void {
  const state = pop(machine)
  if (!(top(machine) instanceof Map) || !(state instanceof Map))
    throw broken(machine, 'it sets state on an object')
}

function tuple(machine: Machine, count: number): PickleValue[] {
  const items: PickleValue[] = []
  for (let i = 0; i < count; i++) items.unshift(pop(machine))
  return items
}

type Step = (machine: Machine) => void

/** A step that pushes what it reads. */
function pushing(read: (machine: Machine) => PickleValue): Step {
  return (machine) => {
    machine.stack.push(read(machine))
  }
}

const steps: ReadonlyMap<number, Step> = new Map<number, Step>([
  [0x80, (m) => checkProtocol(m)], // PROTO
  [0x95, (m) => void take(m, 8)], // FRAME: only a hint for reading ahead
  [0x28, (m) => void m.marks.push(m.stack.length)], // MARK
  [0x30, (m) => void pop(m)], // POP
  [0x31, (m) => void popMark(m)], // POP_MARK
  [0x32, pushing((m) => top(m))], // DUP
  [0x4e, pushing(() => null)], // NONE
  [0x88, pushing(() => true)], // NEWTRUE
  [0x89, pushing(() => false)], // NEWFALSE
  [0x4a, pushing((m) => m.view.getInt32(take(m, 4), true))], // BININT
  [0x4b, pushing((m) => m.bytes[take(m, 1)])], // BININT1
  [0x4d, pushing((m) => m.view.getUint16(take(m, 2), true))], // BININT2
  [0x8a, pushing((m) => long(m, m.bytes[take(m, 1)]))], // LONG1
  [0x47, pushing((m) => m.view.getFloat64(take(m, 8), false))], // BINFLOAT
  [0x58, pushing((m) => utf8(m, m.view.getUint32(take(m, 4), true)))], // BINUNICODE
  [0x8c, pushing((m) => utf8(m, m.bytes[take(m, 1)]))], // SHORT_BINUNICODE
  [0x8d, pushing((m) => utf8(m, length64(m)))], // BINUNICODE8
  [0x55, pushing((m) => utf8(m, m.bytes[take(m, 1)]))], // SHORT_BINSTRING
  [0x54, pushing((m) => utf8(m, m.view.getUint32(take(m, 4), true)))], // BINSTRING
  [0x5d, pushing(() => [])], // EMPTY_LIST
  [0x7d, pushing(() => new Map())], // EMPTY_DICT
  [0x29, pushing(() => [])], // EMPTY_TUPLE
  [0x6c, pushing(popMark)], // LIST
  [0x74, pushing(popMark)], // TUPLE
  [0x85, pushing((m) => tuple(m, 1))], // TUPLE1
  [0x86, pushing((m) => tuple(m, 2))], // TUPLE2
  [0x87, pushing((m) => tuple(m, 3))], // TUPLE3
  [0x64, (m) => dict(m)], // DICT
  [0x61, (m) => appendOne(m)], // APPEND
  [0x65, (m) => appendMany(m)], // APPENDS
  [0x73, (m) => setOne(m)], // SETITEM
  [0x75, (m) => setMany(m)], // SETITEMS
  [0x71, (m) => void m.memo.set(m.bytes[take(m, 1)], top(m))], // BINPUT
  [0x72, (m) => void m.memo.set(m.view.getUint32(take(m, 4), true), top(m))], // LONG_BINPUT
  [0x94, (m) => void m.memo.set(m.memo.size, top(m))], // MEMOIZE
  [0x68, pushing((m) => memoGet(m, m.bytes[take(m, 1)]))], // BINGET
  [0x6a, pushing((m) => memoGet(m, m.view.getUint32(take(m, 4), true)))], // LONG_BINGET
  [0x63, pushing((m) => mention(m, line(m), line(m)))], // GLOBAL
  [0x93, pushing((m) => stackGlobal(m))], // STACK_GLOBAL
  [0x52, pushing(reduce)], // REDUCE
  [0x62, build], // BUILD
  [0x51, pushing((m) => m.rules.load(pop(m)))], // BINPERSID
  [0x69, (m) => instantiate(m)], // INST
  [0x6f, (m) => refuse(m, 'OBJ')], // OBJ
  [0x81, (m) => refuse(m, 'NEWOBJ')], // NEWOBJ
  [0x92, (m) => refuse(m, 'NEWOBJ_EX')], // NEWOBJ_EX
  [0x82, (m) => refuse(m, 'EXT1')],
  [0x83, (m) => refuse(m, 'EXT2')],
  [0x84, (m) => refuse(m, 'EXT4')],
])

function checkProtocol(machine: Machine): void {
  const protocol = machine.bytes[take(machine, 1)]
  if (protocol < 2 || protocol > 5) throw broken(machine, `protocol ${protocol} is not between 2 and 5`)
}

function refuse(machine: Machine, opcode: string): never {
  throw broken(machine, `it makes an object (${opcode}), which a checkpoint has no use for`)
}

function instantiate(machine: Machine): never {
  mention(machine, line(machine), line(machine)) // a name outside the list is the better message
  refuse(machine, 'INST')
}

function dict(machine: Machine): void {
  const items = popMark(machine)
  const made = new Map()
  setItems(machine, made, items)
  machine.stack.push(made)
}

function appendOne(machine: Machine): void {
  const item = pop(machine)
  append(machine, top(machine), [item])
}

function appendMany(machine: Machine): void {
  const items = popMark(machine)
  append(machine, top(machine), items)
}

function setOne(machine: Machine): void {
  const value = pop(machine)
  const key = pop(machine)
  setItems(machine, top(machine), [key, value])
}

function setMany(machine: Machine): void {
  const items = popMark(machine)
  setItems(machine, top(machine), items)
}

function stackGlobal(machine: Machine): PickleName {
  const name = pop(machine)
  const module = pop(machine)
  if (typeof name !== 'string' || typeof module !== 'string') throw broken(machine, 'a name is not text')
  return mention(machine, module, name)
}
