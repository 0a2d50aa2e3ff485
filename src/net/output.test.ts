/** Whose bytes a socket still refers to after they were written together. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Duplex } from 'node:stream'
import type { NetworkSocket } from '../ports/network.ts'
import { Output } from './output.ts'

/** A socket that is done with nothing before `finish`, as one with TLS is for a moment. */
function slowSocket(): NetworkSocket & { readonly written: Uint8Array[]; finish(): void } {
  const written: Uint8Array[] = []
  let done: (() => void) | undefined
  const socket = new Duplex({
    read: () => undefined,
    write(chunk: Uint8Array, _, callback) {
      written.push(chunk)
      done = callback
    },
    writev(chunks, callback) {
      written.push(...chunks.map(({ chunk }) => chunk as Uint8Array))
      done = callback
    },
  })
  return Object.assign(socket, { written, finish: () => done?.(), resetAndDestroy: () => socket.destroy() }) as never
}

test('what is small goes out as one copy, and its bytes may be reused at once', () => {
  const socket = slowSocket()
  const out = new Output(socket)
  const body = Buffer.from('body')
  out.cork()
  out.write('head ')
  out.write(body)
  assert.equal(out.uncork(), undefined)
  body.fill(0)
  assert.deepEqual(socket.written.map(String), ['head body'])
})

test('what goes out as it is must stay until the socket is done with it', () => {
  const out = new Output(slowSocket())
  out.cork()
  out.write('head ')
  out.write(Buffer.alloc(32 * 1024))
  assert.ok(out.uncork())
  out.cork()
  out.write(Buffer.from('alone'))
  assert.ok(out.uncork())
})

/** A socket whose bytes are with the kernel at once. */
function quickSocket(): NetworkSocket {
  const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done(), writev: (_chunks, done) => done() })
  return Object.assign(socket, { resetAndDestroy: () => socket.destroy() }) as never
}

for (const pieces of [1, 2]) {
  test(`nobody is told to wait where no drain will come: ${pieces} corked pieces, however large`, async () => {
    const socket = quickSocket()
    let drained = false
    socket.on('drain', () => {
      drained = true
    })
    const out = new Output(socket)
    out.cork()
    let flowing = true
    for (let i = 0; i < pieces; i++) flowing = out.write(Buffer.alloc(socket.writableHighWaterMark + 1)) && flowing
    out.uncork()
    await new Promise(setImmediate)
    assert.ok(flowing || drained)
    assert.equal(out.blocked, false)
  })
}

test('who writes more than the socket wants is told to wait, corked or not', () => {
  const socket = slowSocket()
  const out = new Output(socket)
  out.cork()
  out.write(Buffer.alloc(socket.writableHighWaterMark))
  out.uncork()
  assert.equal(out.blocked, true)
  out.cork()
  assert.equal(out.write('more'), false)
})

/** What of this was lent, and how often it came back. */
function lendsOf(
  socket: NetworkSocket,
  pieces: readonly (string | Uint8Array)[],
): { readonly isLent: boolean; readonly returned: () => number } {
  const out = new Output(socket)
  let returned = 0
  out.cork()
  for (const piece of pieces) out.write(piece)
  const loan = out.uncork()
  if (loan !== undefined) loan.onReturn = () => void returned++
  return { isLent: loan !== undefined, returned: () => returned }
}

const LARGE = Buffer.alloc(32 * 1024)

for (const [what, pieces] of [
  ['one piece', [LARGE]],
  ['a head and a body', ['head ', LARGE]],
  ['chunks', ['8000\r\n', LARGE, '\r\n']],
] as const) {
  test(`what is lent comes back once, when the socket is done with it: ${what}`, () => {
    const socket = slowSocket()
    const { isLent, returned } = lendsOf(socket, pieces)
    assert.equal(isLent, true)
    assert.equal(returned(), 0)
    socket.finish()
    assert.equal(returned(), 1)
  })

  test(`of a socket that broke nothing comes back, since nobody knows what it still refers to: ${what}`, async () => {
    const socket = slowSocket()
    socket.on('error', () => undefined)
    lendsOf(socket, ['before'])
    const { returned } = lendsOf(socket, pieces)
    socket.destroy(new Error('broken'))
    await new Promise(setImmediate)
    assert.equal(returned(), 0)
  })

  test(`nothing is lent to a socket that is done at once: ${what}`, () => {
    assert.equal(lendsOf(quickSocket(), pieces).isLent, false)
  })
}

test('what is written behind a loan while it is corked no more is not said to come back with it', () => {
  const socket = slowSocket()
  const out = new Output(socket)
  out.cork()
  out.write(LARGE)
  out.uncork()
  out.write(LARGE)
  const loan = out.uncork()
  let returned = false
  if (loan !== undefined) loan.onReturn = () => void (returned = true)
  socket.finish()
  assert.equal(loan !== undefined && !returned, true)
})
