/** Whom a listener turns away, and what it tells them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RawClient, rawAsk } from '../../test/support/raw-client.ts'
import { until } from '../../test/support/until.ts'
import { LocalTally } from '../lib/tally.ts'
import { systemClock, systemNetwork } from '../ports/system.ts'
import { Listener, type ListenerOptions } from './listener.ts'
import { Sweeper } from './sweeper.ts'

async function openListener(name: string, change: Partial<ListenerOptions>): Promise<Listener> {
  return await Listener.open({
    name,
    host: '127.0.0.1',
    port: 0,
    clock: systemClock,
    network: systemNetwork,
    sweeper: new Sweeper(systemClock),
    limits: { headBytesMax: 1000, headersMax: 10, targetBytesMax: 100 },
    timeouts: { headMs: 1000, bodyMs: 1000, idleMs: 1000, stallMs: 1000 },
    trustedPeers: [],
    connections: { open: new LocalTally(), max: 5000, onFull: () => undefined },
    onCall: () => undefined,
    onRefused: () => undefined,
    ...change,
  })
}

test('who finds all places taken is told so by the gateway’s configured name', async (t) => {
  for (const [name, said] of [
    ['edge-1', 'edge-1'],
    ['1st', '"1st"'],
  ] as const) {
    const full = new LocalTally()
    full.take(1)
    const listener = await openListener(name, { connections: { open: full, max: 1, onFull: () => undefined } })
    t.after(() => listener.close())
    const answer = await rawAsk(listener.address.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    assert.equal(answer.status, 503)
    assert.equal(answer.header('proxy-status'), `${said}; error=connection_limit_reached`)
    assert.equal(answer.header('retry-after'), '1')
  }
})

test('where connections are let in slowly they wait, first come first in; too many are turned away, and who leaves makes room', async (t) => {
  const called: string[] = []
  const paths = (): readonly string[] => called
  const listener = await openListener('gw', {
    onCall: (call) => {
      called.push(call.head.path)
      call.send(200, [], 'in')
    },
  })
  t.after(() => listener.close())
  listener.letInSlowly(true)
  const clients: RawClient[] = []
  for (let n = 0; n < 1024; n++) {
    const client = await RawClient.connect(listener.address.port)
    t.after(() => client.destroy())
    client.write(`GET /${n} HTTP/1.1\r\nHost: a\r\n\r\n`)
    clients.push(client)
  }
  await until('all wait', () => listener.waiting === 1024)
  const refused = await rawAsk(listener.address.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  assert.equal(refused.status, 503)
  assert.deepEqual(called, [])
  listener.letSomeIn(8)
  await until('some are in', () => called.length === 8)
  assert.deepEqual(called.toSorted(), ['/0', '/1', '/2', '/3', '/4', '/5', '/6', '/7'])
  clients[8]?.socket.resetAndDestroy()
  await until('one has left', () => listener.waiting === 1015)
  listener.letInSlowly(false)
  await until('all are in', () => called.length === 1023)
  assert.ok(!paths().includes('/8'))
  assert.equal((await rawAsk(listener.address.port, 'GET /late HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')).status, 200)
})

test('who waits to be let in is told when the gateway stops', async (t) => {
  const listener = await openListener('gw', {})
  t.after(() => listener.close())
  listener.letInSlowly(true)
  const client = await RawClient.connect(listener.address.port)
  t.after(() => client.destroy())
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await until('it waits', () => listener.waiting === 1)
  await listener.drain()
  await until('it is told', () => client.text.startsWith('HTTP/1.1 503 '))
})
