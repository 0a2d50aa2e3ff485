/** TLS ends at the gateway: which certificate is shown to whom, what servers are told, and who is not let in. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { makeCertificate } from '../support/certificates.ts'
import { closed } from '../support/closed.ts'
import { askTls } from '../support/tls-client.ts'
import { AUTHORITY, LOCALHOST, tlsScene } from '../support/tls-scene.ts'
import { until } from '../support/until.ts'

const ca = AUTHORITY.cert

/** What a client sends first. */
async function clientHello(): Promise<Buffer> {
  const server = createServer((socket) => socket.resume()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connectTls({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, servername: 'localhost' })
  client.on('error', () => undefined)
  const [socket] = (await once(server, 'connection')) as [Socket]
  const [hello] = (await once(socket, 'data')) as [Buffer]
  client.destroy()
  server.close()
  return hello
}

test('a request over TLS is served, and its server is told of https', async () => {
  await using all = await tlsScene()
  const answer = await askTls(all.port, { ca })
  assert.deepEqual([answer.status, answer.alpn, answer.protocol], [200, 'http/1.1', 'TLSv1.3'])
  const told = JSON.parse(answer.text) as Record<string, string>
  assert.equal(told['x-forwarded-proto'], 'https')
  assert.match(String(told['forwarded']), /proto=https/)
  assert.equal(await all.metric('spillway_tls_handshakes_total', 'outcome="done"'), 1)
})

test('an https URL as target is right here, and misdirected in the clear', async () => {
  const request = 'GET https://localhost/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
  await using all = await tlsScene({}, { more: ['127.0.0.1:0'] })
  assert.equal((await askTls(all.port, { ca, request })).status, 200)
  const plain = connect(all.rig.gateway.listeners[1]?.port as number, '127.0.0.1')
  plain.write(request)
  const [chunk] = (await once(plain, 'data')) as [Buffer]
  assert.match(chunk.toString(), /^HTTP\/1\.1 421 /)
  plain.destroy()
})

test('the certificate is chosen by name: exact before wildcard, the first one for others', async () => {
  const certificates = [
    LOCALHOST,
    makeCertificate({ name: 'wild', names: ['*.example.com'], issuer: AUTHORITY }),
    makeCertificate({ name: 'exact', names: ['api.example.com'], issuer: AUTHORITY }),
  ]
  await using all = await tlsScene({}, { certificates })
  const shown = async (servername: string): Promise<string> =>
    (await askTls(all.port, { ca, servername, checkServerIdentity: () => undefined })).shown
  assert.equal(await shown('api.example.com'), 'exact')
  assert.equal(await shown('WWW.example.com'), 'wild')
  assert.equal(await shown('a.b.example.com'), 'localhost')
  assert.equal(await shown('localhost'), 'localhost')
  assert.equal(await shown(''), 'localhost')
})

test('of two certificates for one name the client takes the one that it understands', async () => {
  const names = ['localhost']
  const certificates = [LOCALHOST, makeCertificate({ name: 'rsa', names, issuer: AUTHORITY, kind: 'rsa' })]
  await using all = await tlsScene({}, { certificates })
  const shown = async (sigalgs: string): Promise<string> =>
    (await askTls(all.port, { ca, sigalgs: `${sigalgs}:ecdsa_secp256r1_sha256` })).shown
  assert.equal(await shown('ecdsa_secp256r1_sha256'), 'localhost')
  const onlyRsa = await askTls(all.port, { ca, maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' })
  assert.equal(onlyRsa.shown, 'rsa')
})

test('unknownNames: refuse lets in only who asks for a name that there is', async () => {
  await using all = await tlsScene({ unknownNames: 'refuse' })
  assert.equal((await askTls(all.port, { ca })).status, 200)
  for (const servername of ['other.example', '']) {
    await assert.rejects(askTls(all.port, { ca, servername, rejectUnauthorized: false }), { code: /ALERT_HANDSHAKE_FAILURE/ })
  }
  assert.equal(await all.metric('spillway_tls_handshakes_total', 'outcome="failed"'), 2)
})

test('minVersion and ciphers are what is spoken', async () => {
  await using all = await tlsScene({ minVersion: 'TLSv1.3' })
  await assert.rejects(askTls(all.port, { ca, maxVersion: 'TLSv1.2' }), { code: /ALERT_PROTOCOL_VERSION/ })
  await using older = await tlsScene({ ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384' })
  assert.equal((await askTls(older.port, { ca, maxVersion: 'TLSv1.2' })).protocol, 'TLSv1.2')
  await assert.rejects(askTls(older.port, { ca, maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }), {
    code: /HANDSHAKE_FAILURE/,
  })
})

test('who speaks only HTTP/2 is told so, and who names no protocol is served', async () => {
  await using all = await tlsScene()
  await assert.rejects(askTls(all.port, { ca, ALPNProtocols: ['h2'] }), { code: /NO_APPLICATION_PROTOCOL/ })
  const { ALPNProtocols: _, ...none } = { ALPNProtocols: [] }
  assert.equal((await askTls(all.port, { ca, ...none, ALPNProtocols: [] })).status, 200)
  assert.equal((await askTls(all.port, { ca, ALPNProtocols: ['h2', 'http/1.1'] })).alpn, 'http/1.1')
})

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`sessions are resumed with ${maxVersion}: by name, after a reload, and not where tickets are off`, async () => {
    const other = makeCertificate({ names: ['api.example.com'], issuer: AUTHORITY })
    await using all = await tlsScene({}, { certificates: [LOCALHOST, other] })
    for (const servername of ['localhost', 'api.example.com']) {
      const first = await askTls(all.port, { ca, servername, maxVersion })
      const again = await askTls(all.port, { ca, servername, maxVersion, session: first.session })
      assert.deepEqual([first.resumed, again.resumed, again.status], [false, true, 200])
      // Another certificate, the same keys of tickets.
      all.files.write('c0', makeCertificate({ names: ['localhost'], issuer: AUTHORITY }))
      await all.rig.gateway.reload()
      assert.equal((await askTls(all.port, { ca, servername, maxVersion, session: first.session })).resumed, true)
    }
    assert.ok((await all.metric('spillway_tls_handshakes_total', 'outcome="resumed"')) >= 4)
    await using off = await tlsScene({ tickets: 'off' })
    const first = await askTls(off.port, { ca, maxVersion })
    assert.equal((await askTls(off.port, { ca, maxVersion, session: first.session })).resumed, false)
  })
}

test('keys of tickets are rotated: a session of the key before begins anew', async () => {
  await using all = await tlsScene({ tickets: { rotate: '50ms' } })
  const { session } = await askTls(all.port, { ca })
  await until('it is not resumed any more', async () => !(await askTls(all.port, { ca, session })).resumed)
})

test('clients need a certificate where it is required, and servers get it as Client-Cert', async () => {
  const clients = makeCertificate({ name: 'clients', authority: true })
  const alice = makeCertificate({ name: 'alice', issuer: clients })
  const mallory = makeCertificate({ name: 'mallory' })
  await using all = await tlsScene((files) => ({ clientAuth: { ca: files.text('clients.pem', clients.cert) } }))
  const answer = await askTls(all.port, { ca, cert: alice.cert, key: alice.key })
  const told = JSON.parse(answer.text) as Record<string, string>
  const der = alice.cert.split('-----')[2]?.replaceAll('\n', '')
  assert.equal(told['client-cert'], `:${der}:`)
  await assert.rejects(askTls(all.port, { ca }), { code: /CERTIFICATE_REQUIRED/ })
  await assert.rejects(askTls(all.port, { ca, maxVersion: 'TLSv1.2' }), { code: /HANDSHAKE_FAILURE/ })
  await assert.rejects(askTls(all.port, { ca, cert: mallory.cert, key: mallory.key }))
  // Of a session that is resumed, too.
  const again = await askTls(all.port, { ca, cert: alice.cert, key: alice.key, session: answer.session })
  assert.equal(again.resumed, true)
  assert.equal((JSON.parse(again.text) as Record<string, string>)['client-cert'], `:${der}:`)
  const reasons = all.rig.events.flatMap((event) => (event.type === 'connections-refused' ? [event.reason] : []))
  assert.deepEqual(reasons, ['TLS: the client has no certificate'])
  await until('three were refused', async () => (await all.metric('spillway_tls_handshakes_total', 'outcome="failed"')) === 3)
})

test('where it is only requested, a client may have none, but none that is wrong', async () => {
  const clients = makeCertificate({ name: 'clients', authority: true })
  const alice = makeCertificate({ name: 'alice', issuer: clients })
  const mallory = makeCertificate({ name: 'mallory' })
  const old = makeCertificate({ name: 'old', issuer: clients, notAfterMs: -1000 })
  await using all = await tlsScene((files) => ({ clientAuth: { ca: files.text('clients.pem', clients.cert), mode: 'request' } }))
  const none = await askTls(all.port, { ca })
  assert.equal((JSON.parse(none.text) as Record<string, string>)['client-cert'], undefined)
  assert.match((await askTls(all.port, { ca, cert: alice.cert, key: alice.key })).text, /client-cert/)
  await assert.rejects(askTls(all.port, { ca, cert: mallory.cert, key: mallory.key }))
  await assert.rejects(askTls(all.port, { ca, cert: old.cert, key: old.key }))
})

test('a session of clients of one authority is none of clients of another one', async () => {
  const first = makeCertificate({ name: 'first', authority: true })
  const second = makeCertificate({ name: 'second', authority: true })
  const alice = makeCertificate({ name: 'alice', issuer: first })
  await using all = await tlsScene((files) => ({ clientAuth: { ca: files.text('clients.pem', first.cert) } }))
  const client = { ca, cert: alice.cert, key: alice.key }
  const { session } = await askTls(all.port, client)
  assert.equal((await askTls(all.port, { ...client, session })).resumed, true)
  all.files.text('clients.pem', second.cert)
  await all.rig.gateway.reload()
  await assert.rejects(askTls(all.port, { ...client, session }))
})

test('nobody can claim a certificate that he has not shown', async () => {
  await using all = await tlsScene({}, { more: ['127.0.0.1:0'] })
  const lines = ['Client-Cert: :AAAA:', 'client-cert-chain: :AAAA:', 'Client_Cert: :AAAA:']
  const request = `GET / HTTP/1.1\r\nHost: localhost\r\n${lines.join('\r\n')}\r\nConnection: close\r\n\r\n`
  assert.doesNotMatch((await askTls(all.port, { ca, request })).text, /AAAA/)
  const plain = connect(all.rig.gateway.listeners[1]?.port as number, '127.0.0.1')
  plain.write(request)
  const [chunk] = (await once(plain, 'data')) as [Buffer]
  assert.match(chunk.toString(), /^HTTP\/1\.1 200 /)
  assert.doesNotMatch(chunk.toString(), /AAAA/)
  plain.destroy()
})

test('a handshake that is begun and not ended is over in time, however busy its client looks', async () => {
  await using all = await tlsScene({ handshakeTimeout: '300ms' })
  const socket = connect(all.port, '127.0.0.1')
  const over = closed(socket)
  // A record of 512 bytes, and in it the beginning of a ClientHello.
  socket.write(Buffer.of(22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3))
  const drip = setInterval(() => socket.write(Buffer.of(0)), 20)
  socket.on('error', () => undefined)
  await over
  clearInterval(drip)
  assert.equal(await all.metric('spillway_tls_handshakes_total', 'outcome="timeout"'), 1)
  await until('it counts no more', async () => (await all.connections()) === 0)
})

test('who leaves in the middle of a handshake takes no place any more', async () => {
  // Not because its time is over.
  await using all = await tlsScene({ handshakeTimeout: '10m' })
  const wire = connect(all.port, '127.0.0.1')
  const client = connectTls({ socket: wire, servername: 'localhost', ca })
  client.on('error', () => undefined)
  // The server's answer is not read: the handshake ends here.
  wire.once('connect', () => setImmediate(() => wire.destroy()))
  await closed(wire)
  const half = connect({ host: '127.0.0.1', port: all.port, allowHalfOpen: true })
  half.on('error', () => undefined)
  half.end((await clientHello()).subarray(0, 100))
  const whole = connect(all.port, '127.0.0.1')
  whole.on('error', () => undefined)
  whole.write(await clientHello())
  await once(whole, 'readable')
  whole.destroy()
  await until('none is left', async () => (await all.connections()) === 0)
})

test('what is no TLS is refused, counted, and told once', async () => {
  await using all = await tlsScene()
  for (let n = 0; n < 3; n++) {
    const socket = connect(all.port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
    socket.resume()
    await closed(socket)
  }
  assert.equal(await all.metric('spillway_tls_handshakes_total', 'outcome="failed"'), 3)
  const told = all.rig.events.filter(({ type }) => type === 'connections-refused')
  assert.deepEqual(
    told.map((event) => event.type === 'connections-refused' && [event.count, event.reason]),
    [[1, 'TLS: the client speaks plain HTTP']],
  )
})

test('handshakes count as connections: one more than there may be is not taken', async () => {
  await using all = await tlsScene({}, { config: { limits: { connections: 2 } } })
  const waiting = [connect(all.port, '127.0.0.1'), connect(all.port, '127.0.0.1')]
  for (const socket of waiting) socket.on('error', () => undefined)
  await until('both are in their handshake', async () => (await all.connections()) === 2)
  await assert.rejects(askTls(all.port, { ca }))
  waiting[0]?.destroy()
  await until('there is room', async () => (await all.connections()) === 1)
  assert.equal((await askTls(all.port, { ca })).status, 200)
  waiting[1]?.destroy()
})

test('a response that is cut does not look whole: no close_notify', async () => {
  await using all = await tlsScene()
  all.server.handle = (_, response) => {
    response.writeHead(200, { connection: 'close' })
    response.write('a part of it')
    setImmediate(() => response.socket?.resetAndDestroy())
  }
  // HTTP/1.0: only the end of the connection ends the body.
  const request = 'GET / HTTP/1.0\r\nHost: localhost\r\n\r\n'
  await assert.rejects(askTls(all.port, { ca, request }), { code: 'ECONNRESET' })
})

test('a stopping gateway finishes what it serves over TLS, says that it closes, and keeps no idle connection', async () => {
  await using all = await tlsScene()
  const answers: (() => void)[] = []
  all.server.handle = (_, response) => void answers.push(() => void response.end('late'))
  const idle = connectTls({ host: '127.0.0.1', port: all.port, ca, servername: 'localhost' })
  await once(idle, 'secureConnect')
  const late = connect(all.port, '127.0.0.1')
  await until('it has been accepted', async () => (await all.connections()) === 2)
  const asked = askTls(all.port, { ca, request: 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n' })
  await until('it is served', () => all.server.received.length === 1)
  const ended = closed(idle)
  idle.resume()
  const drained = all.rig.gateway.drain()
  await ended
  // Its handshake had not begun.
  const lateAsked = askTls(0, { ca, socket: late })
  await until('it is served, too', () => all.server.received.length === 2)
  answers[1]?.()
  assert.equal((await lateAsked).text, 'late')
  answers[0]?.()
  const { text, headers } = await asked
  assert.deepEqual([text, headers['connection']], ['late', 'close'])
  await drained
})

test('large bodies go both ways', async () => {
  await using all = await tlsScene()
  const body = Buffer.alloc(3_000_000, 'spillway ')
  all.server.handle = (received, response) => void response.end(received.body)
  const head = `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`
  const { text } = await askTls(all.port, { ca, request: head + body.toString('latin1') })
  assert.equal(text.length, body.length)
  assert.ok(Buffer.from(text, 'latin1').equals(body))
})
