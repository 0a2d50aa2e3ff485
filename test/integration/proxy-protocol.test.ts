/** The PROXY protocol on listeners: who is believed, who is refused, and that nobody is asked twice or guessed about. */
import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { test } from 'node:test'
import { writeProxyHeader } from '../../src/core/proxy-protocol/header.ts'
import { closed } from '../support/closed.ts'
import { askTls } from '../support/tls-client.ts'
import { AUTHORITY, type Listener, type TlsScene, tlsScene } from '../support/tls-scene.ts'
import { until } from '../support/until.ts'

const ca = AUTHORITY.cert
const ENDS = { source: { address: '203.0.113.7', port: 4711 }, destination: { address: '198.51.100.1', port: 443 } }
const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'

type Proxies = NonNullable<Listener['proxyProtocol']>

/** The first listener speaks TLS, the second one does not; both want the header. */
function scene(proxyProtocol: Partial<Proxies> = {}): Promise<TlsScene> {
  const wanted: Proxies = { from: ['127.0.0.0/8'], ...proxyProtocol }
  return tlsScene({}, { listener: { proxyProtocol: wanted }, more: [{ address: '127.0.0.1:0', proxyProtocol: wanted }] })
}

const plainPort = (all: TlsScene): number => all.rig.gateway.listeners[1]?.port as number

/** All that comes back until the end; '' when it was broken off. */
async function exchange(port: number, ...pieces: readonly (Uint8Array | string)[]): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  for (const piece of pieces) socket.write(piece)
  return untilEnd(socket)
}

async function untilEnd(socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
  await closed(socket)
  return text
}

for (const version of ['v1', 'v2'] as const) {
  test(`${version}: the client is who the proxy says, also behind TLS`, async () => {
    await using all = await scene()
    const header = writeProxyHeader(version, ENDS)
    assert.match(await exchange(plainPort(all), header, REQUEST), /"x-forwarded-for":"203\.0\.113\.7"/)
    const wire = connect(all.port, '127.0.0.1')
    wire.write(header)
    assert.equal((JSON.parse((await askTls(0, { ca, socket: wire })).text) as Record<string, string>)['x-forwarded-for'], '203.0.113.7')
  })

  test(`${version}: a header that comes byte by byte is the same`, async () => {
    await using all = await scene()
    const socket = connect({ port: plainPort(all), host: '127.0.0.1', noDelay: true })
    for (const byte of writeProxyHeader(version, ENDS)) {
      await new Promise<void>((resolve) => socket.write(Uint8Array.of(byte), () => setImmediate(resolve)))
    }
    socket.write(REQUEST)
    assert.match(await untilEnd(socket), /"x-forwarded-for":"203\.0\.113\.7"/)
  })

  test(`${version}: a connection of the proxy's own keeps its address`, async () => {
    await using all = await scene()
    assert.match(await exchange(plainPort(all), writeProxyHeader(version, undefined), REQUEST), /"x-forwarded-for":"127\.0\.0\.1"/)
  })
}

test('several requests on one connection have one header', async () => {
  await using all = await scene()
  const keep = REQUEST.replace('Connection: close\r\n', '')
  const text = await exchange(plainPort(all), Buffer.concat([writeProxyHeader('v2', ENDS), Buffer.from(keep + REQUEST)]))
  assert.equal(text.match(/"x-forwarded-for":"203\.0\.113\.7"/g)?.length, 2)
})

test('who is one of the proxies and sends no header, or a wrong one, is refused', async () => {
  await using all = await scene()
  const wrong = ['PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n', 'PROXY UNKNOWN\n', '\r\n\r\n\0\r\nQUIT\n\x31']
  for (const start of ['', ...wrong]) assert.equal(await exchange(plainPort(all), start + REQUEST), '', JSON.stringify(start))
  assert.equal(all.server.received.length, 0)
  assert.equal(await all.metric('spillway_proxy_headers_refused_total'), 4)
  const [told, ...more] = all.rig.events.filter(({ type }) => type === 'connections-refused')
  assert.deepEqual([told?.type === 'connections-refused' && told.reason, more.length], ['PROXY protocol: no PROXY protocol header', 0])
})

test('who is none of the proxies is refused, or served as it is where that is said; a header of its own is a bad request then', async () => {
  const from = ['192.0.2.0/24']
  await using refusing = await scene({ from })
  assert.equal(await exchange(plainPort(refusing), REQUEST), '')
  await using direct = await scene({ from, others: 'direct' })
  assert.match(await exchange(plainPort(direct), REQUEST), /"x-forwarded-for":"127\.0\.0\.1"/)
  assert.equal((await askTls(direct.port, { ca })).status, 200)
  assert.match(await exchange(plainPort(direct), writeProxyHeader('v1', ENDS), REQUEST), /^HTTP\/1\.1 400 /)
  assert.equal(direct.server.received.length, 2)
})

test('a version that is not accepted is refused', async () => {
  await using all = await scene({ versions: ['v2'] })
  assert.equal(await exchange(plainPort(all), writeProxyHeader('v1', ENDS), REQUEST), '')
  assert.match(await exchange(plainPort(all), writeProxyHeader('v2', ENDS), REQUEST), /203\.0\.113\.7/)
})

test('the client that the header names is trusted by its own address, not by that of the proxy', async () => {
  await using all = await tlsScene(
    {},
    {
      more: [{ address: '127.0.0.1:0', proxyProtocol: { from: ['127.0.0.1'] } }],
      config: { trustedPeers: ['127.0.0.1'] },
    },
  )
  const claiming = REQUEST.replace('Connection', 'X-Forwarded-For: 9.9.9.9\r\nConnection')
  assert.match(await exchange(plainPort(all), writeProxyHeader('v2', ENDS), claiming), /"x-forwarded-for":"203\.0\.113\.7"/)
  assert.match(await exchange(plainPort(all), writeProxyHeader('v2', undefined), claiming), /"x-forwarded-for":"9\.9\.9\.9, 127\.0\.0\.1"/)
})

test('a header that does not come is waited for no longer than it may take, and a connection that just ends is no failure', async () => {
  await using all = await scene({ timeout: '200ms' })
  const socket = connect(plainPort(all), '127.0.0.1')
  const ended = untilEnd(socket)
  const drip = setInterval(() => socket.write('PROXY UNKNOWN '.slice(0, 1)), 1000)
  socket.write('PROX')
  assert.equal(await ended, '')
  clearInterval(drip)
  assert.equal(await all.metric('spillway_proxy_headers_refused_total'), 1)
  const look = connect(plainPort(all), '127.0.0.1')
  look.end()
  await untilEnd(look)
  await until('nobody is left', async () => (await all.connections()) === 0)
  assert.equal(await all.metric('spillway_proxy_headers_refused_total'), 1)
})

test('a header of version 2 may be as long as is said, and no longer', async () => {
  await using all = await scene({ size: '64B' })
  const local = (length: number): Buffer => {
    const header = Buffer.alloc(length)
    Buffer.from(writeProxyHeader('v2', undefined)).copy(header)
    header.writeUInt16BE(length - 16, 14)
    return header
  }
  assert.match(await exchange(plainPort(all), local(64), REQUEST), /^HTTP\/1\.1 200 /)
  assert.equal(await exchange(plainPort(all), local(65), REQUEST), '')
})
