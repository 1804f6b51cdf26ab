import { describe, expect, it } from 'vitest'
import {
  crc32c,
  fileVersionEvent,
  frameRecord,
  maskedCrc32c,
  scalarsEvent,
  sessionStartEvent,
} from './tensorboard.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('crc32c', () => {
  // RFC 3720, appendix B.4, and the check value of the catalogue of CRCs.
  it.each([
    ['32 zeros', new Uint8Array(32), 0x8a9136aa],
    ['32 bytes of ones', new Uint8Array(32).fill(255), 0x62a8ab43],
    ['0 … 31', Uint8Array.from({ length: 32 }, (_, index) => index), 0x46dd794e],
    ['31 … 0', Uint8Array.from({ length: 32 }, (_, index) => 31 - index), 0x113fdb5c],
    ['123456789', new TextEncoder().encode('123456789'), 0xe3069283],
    ['nothing', new Uint8Array(0), 0],
  ])('%s', (_, bytes, expected) => {
    expect(crc32c(bytes)).toBe(expected)
  })

  it('is masked so that the mask can be taken off', () => {
    const bytes = new TextEncoder().encode('123456789')
    const rotated = (maskedCrc32c(bytes) - 0xa282ead8) >>> 0
    expect(((rotated >>> 17) | (rotated << 15)) >>> 0).toBe(0xe3069283)
  })
})

describe('events', () => {
  it('frames a record', () => {
    const data = Uint8Array.of(1, 2, 3)
    const record = frameRecord(data)
    const view = new DataView(record.buffer)
    expect(record.byteLength).toBe(12 + 3 + 4)
    expect(view.getBigUint64(0, true)).toBe(3n)
    expect(view.getUint32(8, true)).toBe(maskedCrc32c(record.slice(0, 8)))
    expect(record.slice(12, 15)).toEqual(data)
    expect(view.getUint32(15, true)).toBe(maskedCrc32c(data))
  })

  it('says the version of the file', () => {
    // wall_time = 1.5 (eight bytes), file_version: 13 bytes
    const version = hex(new TextEncoder().encode('brain.Event:2'))
    expect(hex(fileVersionEvent(1.5))).toBe(`09000000000000f83f1a0d${version}`)
  })

  it('says that a session starts', () => {
    expect(hex(sessionStartEvent(1.5, 300))).toBe('09000000000000f83f10ac023a020801')
  })

  it('holds scalars byte by byte', () => {
    const event = scalarsEvent(1.5, 300, [
      { tag: 'a/b', value: 0.5 },
      { tag: 'c', value: Number.NaN },
    ])
    const first = '0a0a0a03612f62150000003f' // value { tag = 'a/b'; simple_value = 0.5 }
    const second = '0a080a0163150000c07f'
    expect(hex(event)).toBe(`09000000000000f83f10ac022a16${first}${second}`)
  })

  it('holds steps past 32 bits and refuses what is no step', () => {
    expect(hex(scalarsEvent(0, 2 ** 40, []))).toBe('09000000000000000010808080808020' + '2a00')
    for (const step of [-1, 0.5, Number.NaN]) expect(() => scalarsEvent(0, step, [])).toThrow(RangeError)
  })
})
