/** Whose bytes a socket still refers to after they were written together. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Duplex } from 'node:stream'
import type { NetworkSocket } from '../ports/network.ts'
import { Output } from './output.ts'

/** A socket that is done with nothing, as one with TLS is for a moment. */
function slowSocket(): NetworkSocket & { readonly written: Uint8Array[] } {
  const written: Uint8Array[] = []
  const socket = new Duplex({
    read: () => undefined,
    write: (chunk: Uint8Array) => void written.push(chunk),
    writev: (chunks) => void written.push(...chunks.map(({ chunk }) => chunk as Uint8Array)),
  })
  return Object.assign(socket, { written, resetAndDestroy: () => socket.destroy() }) as never
}

test('what is small goes out as one copy, and its bytes may be reused at once', () => {
  const socket = slowSocket()
  const out = new Output(socket)
  const body = Buffer.from('body')
  out.cork()
  out.write('head ')
  out.write(body)
  assert.equal(out.uncork(), false)
  body.fill(0)
  assert.deepEqual(socket.written.map(String), ['head body'])
})

test('what goes out as it is must stay until the socket is done with it', () => {
  const out = new Output(slowSocket())
  out.cork()
  out.write('head ')
  out.write(Buffer.alloc(32 * 1024))
  assert.equal(out.uncork(), true)
  out.cork()
  out.write(Buffer.from('alone'))
  assert.equal(out.uncork(), true)
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
