/** Clients as people have them, over TLS: curl, openssl, ws. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { certificateFolder, makeCertificate } from '../support/certificates.ts'
import { startConfigRig } from '../support/config-rig.ts'
import { type Ended, missing, runProgram } from '../support/programs.ts'
import { AUTHORITY, LOCALHOST, type TlsScene, tlsScene } from '../support/tls-scene.ts'

const CLIENTS = makeCertificate({ name: 'clients', authority: true })
const ALICE = makeCertificate({ name: 'alice', issuer: CLIENTS })
const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'

const NO_CURL = missing('curl')
const NO_OPENSSL = missing('openssl', 'version')

function curl({ port, files }: TlsScene, ...args: readonly string[]): Promise<Ended> {
  const ca = files.text('authority.pem', AUTHORITY.cert)
  return runProgram('curl', ['-sS', '-m', '10', '--cacert', ca, ...args, `https://localhost:${port}/`])
}

function sClient({ port, files }: TlsScene, ...args: readonly string[]): Promise<Ended> {
  const ca = files.text('authority.pem', AUTHORITY.cert)
  const common = [
    's_client',
    '-connect',
    `127.0.0.1:${port}`,
    '-servername',
    'localhost',
    '-CAfile',
    ca,
    '-verify_return_error',
    '-ign_eof',
  ]
  return runProgram('openssl', [...common, ...args], GET)
}

test('curl: HTTP/1.1 where it offers HTTP/2, TLS 1.2 and 1.3, kept connections, and a certificate of its own', {
  skip: NO_CURL,
}, async () => {
  await using all = await tlsScene((files) => ({ clientAuth: { ca: files.text('clients.pem', CLIENTS.cert), mode: 'request' } }))
  for (const version of ['1.2', '1.3']) {
    const { code, output } = await curl(all, '--http2', '--tls-max', version, '-w', ' HTTP/%{http_version} %{ssl_verify_result}')
    assert.equal(code, 0, output)
    assert.match(output, /"x-forwarded-proto":"https".* HTTP\/1\.1 0$/)
  }
  const url = `https://localhost:${all.port}/`
  const twice = await curl(all, '-o', '/dev/null', '-o', '/dev/null', url, '-w', '%{num_connects} ')
  assert.equal(twice.output.trim(), '1 0')
  const own = all.files.write('alice', ALICE)
  assert.match((await curl(all, '--cert', own.cert, '--key', own.key)).output, /"client-cert":":MII/)
})

test('curl hears of a certificate that is required', { skip: NO_CURL }, async () => {
  await using all = await tlsScene((files) => ({ clientAuth: { ca: files.text('clients.pem', CLIENTS.cert) } }))
  const { code, output } = await curl(all)
  assert.notEqual(code, 0)
  assert.match(output, /certificate required/)
})

test('openssl: certificate by name, ALPN, and nothing weaker than is said', { skip: NO_OPENSSL }, async () => {
  const other = makeCertificate({ names: ['api.example.com'], issuer: AUTHORITY })
  await using all = await tlsScene({ minVersion: 'TLSv1.3' }, { certificates: [LOCALHOST, other] })
  const { output } = await sClient(all, '-alpn', 'h2,http/1.1')
  assert.match(output, /ALPN protocol: http\/1\.1/)
  assert.match(output, /Verify return code: 0 \(ok\)/)
  assert.match(output, /HTTP\/1\.1 200 OK/)
  assert.match((await sClient(all, '-servername', 'api.example.com')).output, /subject=CN = api\.example\.com/)
  assert.match((await sClient(all, '-tls1_2')).output, /alert protocol version/)
})

for (const version of ['-tls1_2', '-tls1_3']) {
  test(`openssl resumes its session (${version})`, { skip: NO_OPENSSL }, async () => {
    await using all = await tlsScene()
    const session = join(all.files.folder, 'session.pem')
    assert.match((await sClient(all, version, '-sess_out', session)).output, /New, TLSv1/)
    assert.match((await sClient(all, version, '-sess_in', session)).output, /Reused, TLSv1/)
  })
}

test('openssl shows its certificate, and cannot renegotiate', { skip: NO_OPENSSL }, async () => {
  await using all = await tlsScene((files) => ({ clientAuth: { ca: files.text('clients.pem', CLIENTS.cert) } }))
  const own = all.files.write('alice', ALICE)
  assert.match((await sClient(all, '-cert', own.cert, '-key', own.key)).output, /HTTP\/1\.1 200 OK/)
  const renegotiating = ['s_client', '-connect', `127.0.0.1:${all.port}`, '-tls1_2', '-cert', own.cert, '-key', own.key]
  assert.match((await runProgram('openssl', renegotiating, 'R\n')).output, /no renegotiation/)
})

test('ws: a WebSocket over TLS, through to a server that speaks TLS as well; each side ends by itself', async () => {
  const https = createServer({ cert: LOCALHOST.cert, key: LOCALHOST.key })
  const sockets = new WebSocketServer({ server: https })
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(`${(data as Buffer).toString()}, too`)))
  await new Promise<void>((resolve) => https.listen(0, '127.0.0.1', resolve))
  using files = certificateFolder()
  const ca = files.text('ca.pem', AUTHORITY.cert)
  await using rig = await startConfigRig({
    listeners: [{ address: '127.0.0.1:0', tls: { certificates: [files.write('own', LOCALHOST)] } }],
    pools: { api: { servers: [`https://localhost:${(https.address() as AddressInfo).port}`], tls: { ca }, health: { rise: 1 } } },
    routes: [{ match: '/*' }],
  })
  try {
    const url = `wss://localhost:${new URL(rig.url).port}/`
    const socket = await opened(url)
    socket.send('me')
    const [answer] = (await once(socket, 'message')) as [Buffer]
    assert.equal(String(answer), 'me, too')
    const closed = once(socket, 'close')
    socket.close(1000, 'done')
    const [code, reason] = (await closed) as [number, Buffer]
    assert.deepEqual([code, String(reason)], [1000, 'done'])
  } finally {
    sockets.close()
    https.closeAllConnections()
    https.close()
  }
})

/** The server is asked until it has been checked. */
async function opened(url: string): Promise<WebSocket> {
  for (;;) {
    const socket = new WebSocket(url, { ca: AUTHORITY.cert })
    const isOpen = await Promise.race([once(socket, 'open').then(() => true), once(socket, 'error').then(() => false)]).catch(() => false)
    if (isOpen) return socket
  }
}
