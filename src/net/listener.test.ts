/** Whom a listener turns away, and what it tells them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rawAsk } from '../../test/support/raw-client.ts'
import { systemClock, systemNetwork } from '../ports/system.ts'
import { Listener } from './listener.ts'
import { Sweeper } from './sweeper.ts'

async function openFull(name: string): Promise<Listener> {
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
    connections: { open: 1, max: 1, onFull: () => undefined },
    onCall: () => undefined,
    onRefused: () => undefined,
  })
}

test('who finds all places taken is told so by the gateway’s configured name', async (t) => {
  for (const [name, said] of [
    ['edge-1', 'edge-1'],
    ['1st', '"1st"'],
  ] as const) {
    const listener = await openFull(name)
    t.after(() => listener.close())
    const answer = await rawAsk(listener.address.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    assert.equal(answer.status, 503)
    assert.equal(answer.header('proxy-status'), `${said}; error=connection_limit_reached`)
    assert.equal(answer.header('retry-after'), '1')
  }
})
