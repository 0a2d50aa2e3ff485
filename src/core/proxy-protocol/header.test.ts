/** The PROXY protocol's header, both versions: every way to cut it in two, every limit at n and n + 1, and nothing that only looks like one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { ipText } from '../../lib/ip.ts'
import { type Endpoint, type ProxyHeader, type ProxyVersion, readProxyHeader, writeProxyHeader } from './header.ts'

const RULES = { versions: ['v1', 'v2'] as readonly ProxyVersion[], bytesMax: 4096 }
const SIGNATURE = [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10]

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'))
const read = (header: string | readonly number[] | Uint8Array, rules = RULES): ProxyHeader =>
  readProxyHeader(typeof header === 'string' ? bytes(header) : Uint8Array.from(header), rules)
const v2 = (command: number, protocol: number, block: readonly number[]): number[] => [
  ...SIGNATURE,
  command,
  protocol,
  block.length >> 8,
  block.length & 255,
  ...block,
]

const port = fc.integer({ min: 0, max: 65_535 })
const endpoints = (addressBytes: number): fc.Arbitrary<Endpoint> =>
  fc.tuple(fc.uint8Array({ minLength: addressBytes, maxLength: addressBytes }), port).map(([ip, at]) => ({ address: ipText(ip), port: at }))
const ends = fc
  .constantFrom(4, 16)
  .chain((length) => fc.tuple(endpoints(length), endpoints(length)))
  .map(([source, destination]) => ({ source, destination }))
const version = fc.constantFrom<ProxyVersion>('v1', 'v2')

test('what is written is read, wherever it is cut, and what follows is left alone', () => {
  fc.assert(
    fc.property(version, ends, fc.uint8Array({ maxLength: 40 }), (written, both, behind) => {
      const header = writeProxyHeader(written, both)
      for (let cut = 0; cut < header.length; cut++) assert.deepEqual(read(header.subarray(0, cut)), { kind: 'more' })
      const whole = { kind: 'header', length: header.length, source: both.source, destination: both.destination }
      assert.deepEqual(read([...header, ...behind]), whole)
    }),
  )
})

test('a connection of our own says so: UNKNOWN, LOCAL', () => {
  for (const one of ['v1', 'v2'] as const) {
    const header = writeProxyHeader(one, undefined)
    assert.deepEqual(read(header), { kind: 'header', length: header.length })
  }
})

test('where one end is IPv4 and the other IPv6, both are written as IPv6', () => {
  const both = { source: { address: '192.0.2.1', port: 1 }, destination: { address: '2001:db8::1', port: 2 } }
  for (const one of ['v1', 'v2'] as const) {
    const header = read(writeProxyHeader(one, both))
    assert.deepEqual(header.kind === 'header' && header.source, { address: '::ffff:192.0.2.1', port: 1 })
  }
})

test('any bytes give a header, more, or a reason, and never a header that claims more than there is', () => {
  const soup = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.uint8Array({ maxLength: 300 }).map((tail) => Uint8Array.of(...SIGNATURE, ...tail)),
    fc.string({ maxLength: 120 }).map((tail) => bytes(`PROXY ${tail}\r\n`)),
  )
  fc.assert(
    fc.property(soup, (input) => {
      const header = read(input)
      if (header.kind === 'header') assert.ok(header.length <= input.length)
    }),
    { numRuns: 2000 },
  )
})

test('what is wrong stays wrong, whatever comes behind it', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 20 }), fc.uint8Array({ maxLength: 20 }), (input, behind) => {
      if (read(input).kind === 'wrong') assert.equal(read([...input, ...behind]).kind, 'wrong')
    }),
  )
})

test('one changed byte of the fixed part of a header of version 2 never goes unseen as the same client', () => {
  const both = { source: { address: '192.0.2.1', port: 1000 }, destination: { address: '192.0.2.2', port: 80 } }
  const header = writeProxyHeader('v2', both)
  fc.assert(
    fc.property(fc.integer({ min: 0, max: header.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const damaged = Uint8Array.from(header)
      damaged[at] = (damaged[at] as number) ^ change
      const now = read(damaged)
      if (now.kind === 'header' && now.source !== undefined)
        assert.notDeepEqual([now.source, now.destination], [both.source, both.destination])
    }),
  )
})

test('version 1: the line as it must be, to the byte', () => {
  const good = 'PROXY TCP4 192.0.2.1 192.0.2.2 65535 0\r\n'
  assert.equal(read(good).kind, 'header')
  for (const line of [
    'PROXY TCP4 192.0.2.1 192.0.2.2 65536 0\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 080 0\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 +80 0\r\n',
    'PROXY TCP4  192.0.2.1 192.0.2.2 80 0\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 80 0 \r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 80\r\n',
    'PROXY TCP4 192.0.2.1\t192.0.2.2 80 0\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 80 0\n',
    'PROXY TCP4 ::1 ::2 80 0\r\n',
    'PROXY TCP6 192.0.2.1 192.0.2.2 80 0\r\n',
    'PROXY TCP6 fe80::1%eth0 ::1 80 0\r\n',
    'PROXY UDP4 192.0.2.1 192.0.2.2 80 0\r\n',
    'PROXY tcp4 192.0.2.1 192.0.2.2 80 0\r\n',
    'proxy TCP4 192.0.2.1 192.0.2.2 80 0\r\n',
    'PROXY UNKNOWNX\r\n',
    'PROXY \r\n',
    'GET / HTTP/1.1\r\n',
    ' PROXY UNKNOWN\r\n',
  ]) {
    assert.equal(read(line).kind, 'wrong', JSON.stringify(line))
  }
})

test('version 1: the longest line is 107 bytes', () => {
  const line = (length: number): string => `${'PROXY UNKNOWN '.padEnd(length - 2, 'x')}\r\n`
  assert.deepEqual(read(line(107)), { kind: 'header', length: 107 })
  assert.equal(read(line(108)).kind, 'wrong')
  assert.equal(read(line(107).slice(0, 106)).kind, 'more')
  assert.equal(read('PROXY UNKNOWN '.padEnd(107, 'x')).kind, 'wrong')
})

test('version 2: LOCAL has no addresses, whatever it carries; neither have AF_UNSPEC and AF_UNIX', () => {
  const local = v2(0x20, 0x11, [1, 2, 3])
  assert.deepEqual(read(local), { kind: 'header', length: local.length })
  assert.deepEqual(read(v2(0x21, 0x00, [])), { kind: 'header', length: 16 })
  assert.deepEqual(read(v2(0x21, 0x31, Array<number>(216).fill(47))), { kind: 'header', length: 232 })
  assert.equal(read(v2(0x21, 0x31, Array<number>(215).fill(47))).kind, 'wrong')
})

test('version 2: TLVs behind the addresses are passed over', () => {
  const address = [192, 0, 2, 1, 192, 0, 2, 2, 0, 80, 1, 187]
  const header = read(v2(0x21, 0x11, [...address, 0x04, 0, 2, 9, 9, 0x02, 0, 1, 97]))
  assert.deepEqual(header, {
    kind: 'header',
    length: 16 + 12 + 9,
    source: { address: '192.0.2.1', port: 80 },
    destination: { address: '192.0.2.2', port: 443 },
  })
})

test('version 2: addresses need their bytes, and the header is as long as it may be', () => {
  assert.equal(read(v2(0x21, 0x11, Array<number>(12).fill(1))).kind, 'header')
  assert.equal(read(v2(0x21, 0x11, Array<number>(11).fill(1))).kind, 'wrong')
  assert.equal(read(v2(0x21, 0x21, Array<number>(36).fill(1))).kind, 'header')
  assert.equal(read(v2(0x21, 0x21, Array<number>(35).fill(1))).kind, 'wrong')
  assert.equal(read(v2(0x21, 0x11, Array<number>(4080).fill(1))).kind, 'header')
  assert.equal(read(v2(0x21, 0x11, Array<number>(4081).fill(1))).kind, 'wrong')
  // Long before its bytes are there.
  assert.equal(read([...SIGNATURE, 0x21, 0x11, 0xff, 0xff]).kind, 'wrong')
})

test('version 2: other versions, commands and datagrams are refused as soon as they are seen', () => {
  assert.equal(read([...SIGNATURE, 0x11]).kind, 'wrong')
  assert.equal(read([...SIGNATURE, 0x22]).kind, 'wrong')
  for (const protocol of [0x12, 0x22, 0x32, 0x41, 0x01, 0x10])
    assert.equal(read(v2(0x21, protocol, Array<number>(216).fill(0))).kind, 'wrong')
})

test('a version that is not accepted is refused', () => {
  assert.equal(read('PROXY UNKNOWN\r\n', { ...RULES, versions: ['v2'] }).kind, 'wrong')
  assert.equal(read(v2(0x20, 0, []), { ...RULES, versions: ['v1'] }).kind, 'wrong')
  assert.equal(read('PROXY UNKNOWN\r\n', { ...RULES, versions: ['v1'] }).kind, 'header')
  assert.equal(read(v2(0x20, 0, []), { ...RULES, versions: ['v2'] }).kind, 'header')
})
