/** The name in a ClientHello, as clients really send it, and what is left of it when it is cut, damaged, or none. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { before, test } from 'node:test'
import { connect, type ConnectionOptions } from 'node:tls'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { CLIENT_HELLO_BYTES_MAX, readClientHello } from './client-hello.ts'

async function helloOf(options: ConnectionOptions): Promise<Buffer> {
  const wire = new PassThrough()
  const sent = new PassThrough()
  const socket = connect({ ...options, socket: Object.assign(wire, { write: sent.write.bind(sent) }) as never })
  socket.on('error', () => undefined)
  const [hello] = (await once(sent, 'data')) as [Buffer]
  socket.destroy()
  return hello
}

let hello: Buffer
before(async () => {
  hello = await helloOf({ servername: 'api.example.com', ALPNProtocols: ['h2', 'http/1.1'] })
})

/** The same message in records of at most so many bytes. */
function inRecords(record: Buffer, size: number): Buffer {
  const message = record.subarray(5)
  const records: Buffer[] = []
  for (let at = 0; at < message.length; at += size) {
    const piece = message.subarray(at, at + size)
    records.push(Buffer.of(22, 3, 1, piece.length >> 8, piece.length & 255), piece)
  }
  return Buffer.concat(records)
}

test('the name is read, for TLS 1.2 and 1.3, wherever the bytes are cut', async () => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const made = await helloOf({ servername: 'api.example.com', maxVersion })
    assert.deepEqual(readClientHello(made), { kind: 'hello', serverName: 'api.example.com' })
    for (let cut = 0; cut < made.length; cut++) assert.deepEqual(readClientHello(made.subarray(0, cut)), { kind: 'more' })
  }
})

test('a client that names nobody has no name', async () => {
  assert.deepEqual(readClientHello(await helloOf({ servername: '' })), { kind: 'hello' })
})

test('into up to 64 records the message may be cut', () => {
  for (const records of [1, 2, 3, 63, 64]) {
    const size = Math.ceil((hello.length - 5) / records)

    assert.deepEqual(readClientHello(inRecords(hello, size)), { kind: 'hello', serverName: 'api.example.com' })
  }
  assert.equal(readClientHello(inRecords(hello, Math.floor((hello.length - 5) / 64))).kind, 'wrong')
})

test('what is no TLS is told at the first bytes', () => {
  const why = (text: string): string => {
    const read = readClientHello(Buffer.from(text, 'latin1'))
    return read.kind === 'wrong' ? read.why : read.kind
  }
  assert.equal(why('GET / HTTP/1.1\r\n'), 'the client speaks plain HTTP')
  for (const text of [
    'SSH-2.0-x\r\n',
    '\0',
    '\x80\x2e\x01',
    '\x16\x02',
    '\x16\x03\x01\0\0',
    '\x16\x03\x01\xff\xff',
    '\x16\x03\x01\0\x01\x02',
  ])
    assert.doesNotMatch(why(text), /^(more|hello)$/, JSON.stringify(text))
})

test('a message may be so long and no longer', () => {
  const start = (length: number): Buffer => Buffer.of(22, 3, 1, 0, 4, 1, length >> 16, (length >> 8) & 255, length & 255)
  assert.equal(readClientHello(start(CLIENT_HELLO_BYTES_MAX)).kind, 'more')
  assert.equal(readClientHello(start(CLIENT_HELLO_BYTES_MAX + 1)).kind, 'wrong')
})

test('damage anywhere gives an answer, never an exception, and what it read is of the message', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(hello.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }),
      fc.nat(hello.length),
      (changes, cut) => {
        const damaged = Buffer.from(hello)
        for (const [at, byte] of changes) damaged[at] = byte
        const read = readClientHello(damaged.subarray(0, cut))
        if (read.kind === 'hello' && read.serverName !== undefined) assert.ok(damaged.includes(Buffer.from(read.serverName, 'latin1')))
      },
    ),
    { numRuns: 3000 },
  )
})
