/** Servers are asked over TLS: who they must be, who the gateway is to them, and what is told when that is not so. */
import assert from 'node:assert/strict'
import { createServer as createHttp } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { test } from 'node:test'
import type { TlsOptions } from 'node:tls'
import type { PoolStatus } from '../../src/admin/status.ts'
import { loadValue } from '../../src/config/load.ts'
import { readProxyHeader } from '../../src/core/proxy-protocol/header.ts'
import { type CertificateFolder, certificateFolder, makeCertificate } from '../support/certificates.ts'
import { type ConfigRig, startConfigRig } from '../support/config-rig.ts'
import { ask } from '../support/http-client.ts'
import { startTlsServer, type TlsTestServer } from '../support/tls-server.ts'
import { until } from '../support/until.ts'

const AUTHORITY = makeCertificate({ name: 'test authority', authority: true })
const LOCALHOST = makeCertificate({ names: ['localhost', '127.0.0.1'], issuer: AUTHORITY })

type Pool = Record<string, unknown>

interface Scene extends AsyncDisposable {
  readonly rig: ConfigRig
  readonly server: TlsTestServer
  readonly files: CertificateFolder
  readonly config: (pool: Pool) => Record<string, unknown>
  reasons(): Promise<readonly (string | undefined)[]>
}

async function scene(pool: Pool | ((files: CertificateFolder) => Pool), options: TlsOptions = {}, host = 'localhost'): Promise<Scene> {
  const files = certificateFolder()
  const server = await startTlsServer({ cert: LOCALHOST.cert, key: LOCALHOST.key, ...options })
  files.text('ca.pem', AUTHORITY.cert)
  const asked = typeof pool === 'function' ? pool(files) : pool
  const config = (change: Pool): Record<string, unknown> => ({
    pools: {
      api: { servers: [`https://${host}:${server.port}`], wait: '300ms', health: { interval: '50ms', fall: 1, rise: 1 }, ...change },
    },
    routes: [{ match: '/*' }, { match: 'POST /jobs', mode: 'queue' }],
  })
  const rig = await startConfigRig(config(asked))
  const pools = async (): Promise<readonly PoolStatus[]> =>
    ((await ask(`${rig.adminUrl}/status`)).json() as unknown as { pools: PoolStatus[] }).pools
  await until('it has been checked', async () => (await pools()).every(({ servers }) => servers.every(({ state }) => state !== 'unknown')))
  return {
    ...{ rig, server, files, config },
    reasons: async () => (await pools()).flatMap(({ servers }) => servers.map(({ reason }) => reason)),
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
      files[Symbol.dispose]()
    },
  }
}

const ca = (files: CertificateFolder): Pool => ({ tls: { ca: `${files.folder}/ca.pem` } })

test('requests, jobs and checks go over TLS, with the name of the host, on connections and sessions that are used again', async () => {
  await using all = await scene((files) => ({ ...ca(files), health: { path: '/healthz', interval: '50ms', rise: 1 } }))
  for (let n = 0; n < 3; n++) assert.equal((await all.rig.ask('/')).text, 'over TLS http')
  const accepted = await all.rig.ask('/jobs', { method: 'POST', body: 'x' })
  assert.equal(accepted.status, 202)
  await until('the job is done', () => all.server.paths.includes('/jobs'))
  assert.ok(all.server.paths.includes('/healthz'))
  assert.ok(all.server.connections.every(({ serverName }) => serverName === 'localhost'))
  await until('a check has resumed a session', () => all.server.connections.some(({ resumed }) => resumed))
})

test('an address is no name: its certificate must have it, and SNI is left out', async () => {
  await using all = await scene(ca, {}, '127.0.0.1')
  assert.equal((await all.rig.ask('/')).status, 200)
  assert.ok(all.server.connections.every(({ serverName }) => serverName === false))
})

test('serverName is who it must be, whatever its URL says', async () => {
  const api = makeCertificate({ names: ['api.internal'], issuer: AUTHORITY })
  await using all = await scene((files) => ({ tls: { ca: `${files.folder}/ca.pem`, serverName: 'api.internal' } }), {
    cert: api.cert,
    key: api.key,
  })
  assert.equal((await all.rig.ask('/')).status, 200)
  assert.ok(all.server.connections.every(({ serverName }) => serverName === 'api.internal'))
})

const wrong: Readonly<Record<string, readonly [options: TlsOptions, pool: (files: CertificateFolder) => Pool, reason: RegExp]>> = {
  'a certificate that has expired': [
    pairOf(makeCertificate({ names: ['localhost'], issuer: AUTHORITY, notAfterMs: -1000 })),
    ca,
    /has expired/,
  ],
  'a certificate for another name': [
    pairOf(makeCertificate({ names: ['other.example'], issuer: AUTHORITY })),
    ca,
    /is for another name: .*other\.example/,
  ],
  'an authority that is not known': [{}, () => ({}), /issuer of its certificate is not known|authority that is not known/],
  'a certificate of its own making': [pairOf(makeCertificate({ names: ['localhost'] })), ca, /is self-signed/],
  'a client certificate that it wants and does not get': [
    { requestCert: true, rejectUnauthorized: true, ca: AUTHORITY.cert, maxVersion: 'TLSv1.2' },
    ca,
    /refused the handshake: handshake failure/,
  ],
}

function pairOf({ cert, key }: { readonly cert: string; readonly key: string }): TlsOptions {
  return { cert, key }
}

for (const [what, [options, pool, reason]] of Object.entries(wrong)) {
  test(`${what}: nothing is sent, and why is told`, async () => {
    await using all = await scene(pool, options)
    const answer = await all.rig.ask('/')
    assert.equal(answer.status, 503)
    assert.match(String(await all.reasons()), reason)
    assert.deepEqual(all.server.paths, [])
  })
}

test('a request that meets it first is told so, by RFC 9209', async () => {
  // The check passes; then the certificate is another one.
  await using all = await scene((files) => ({ ...ca(files), health: { interval: '1h', rise: 1 } }))
  all.server.retune(pairOf(makeCertificate({ names: ['localhost'], issuer: AUTHORITY, notAfterMs: -1000 })))
  const answer = await all.rig.ask('/')
  assert.equal(answer.status, 502)
  assert.equal(answer.document.code, 'tls_certificate')
  assert.match(answer.document.detail, /its certificate has expired/)
  assert.match(String(answer.headers['proxy-status']), /error=tls_certificate_error/)
})

test('verify: false takes any certificate, and says so at the check of the configuration', async () => {
  await using all = await scene({ tls: { verify: false } }, pairOf(makeCertificate({ names: ['other.example'] })))
  assert.equal((await all.rig.ask('/')).status, 200)
  const read = loadValue(all.config({ tls: { verify: false } }), { file: 'x', folder: '/' })
  assert.match(read.warnings.join(), /pools\.api\.tls\.verify {2}false: nobody knows/)
})

test('the gateway shows a certificate to servers that want one', async () => {
  const gateway = makeCertificate({ name: 'gateway', issuer: AUTHORITY })
  await using all = await scene((files) => ({ tls: { ...(ca(files)['tls'] as object), ...files.write('own', gateway) } }), {
    requestCert: true,
    rejectUnauthorized: true,
    ca: AUTHORITY.cert,
  })
  assert.equal((await all.rig.ask('/')).status, 200)
  assert.ok(all.server.connections.every(({ client }) => client === 'CN=gateway'))
})

test('a reload that changes who servers must be holds for the next request', async () => {
  await using all = await scene(ca)
  assert.equal((await all.rig.ask('/')).status, 200)
  const { tls } = ca(all.files)
  const stricter = all.config({ tls: { ...(tls as object), serverName: 'other.example' } })
  assert.equal((await all.rig.reload(stricter)).kind, 'applied')
  assert.notEqual((await all.rig.ask('/')).status, 200)
  assert.equal((await all.rig.reload(all.config(ca(all.files)))).kind, 'applied')
  await until('it is up again', async () => (await all.rig.ask('/')).status === 200)
})

test('an answer that ends with the connection is whole only if TLS says so', async () => {
  await using all = await scene(ca)
  const head = 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n'
  all.server.answer = (socket) => void socket.end(`${head}all of it`)
  assert.equal((await all.rig.ask('/raw')).text, 'all of it')
  // Whoever is on the way may end a connection; only the server has the keys for the alert.
  all.server.answer = (socket) => socket.write(`${head}a part`, () => socket.destroy())
  await assert.rejects(all.rig.ask('/raw'))
})

test('large bodies go both ways', async () => {
  await using all = await scene(ca)
  const body = Buffer.alloc(3_000_000, 'spillway ')
  const text = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`
  all.server.answer = (socket) => {
    socket.write(text)
    socket.write(body)
  }
  const answer = await all.rig.ask('/raw', { method: 'POST', body })
  assert.equal(answer.text.length, body.length)
})

test('what contradicts itself is refused', () => {
  const problems = (pool: Pool): string => {
    const read = loadValue({ pools: { a: pool }, routes: [{ match: '/*' }] }, { file: 'x', folder: '/' })
    return read.ok ? '' : read.errors.join('\n')
  }
  assert.match(problems({ servers: ['http://a'], tls: {} }), /pools\.a\.tls {2}no server of this pool has a URL with https/)
  assert.match(problems({ servers: ['https://a'], tls: { cert: 'x' } }), /cert and key belong together/)
  assert.match(problems({ servers: ['https://a'], tls: { ca: 'none.pem' } }), /pools\.a\.tls\.ca {2}there is no file \/none\.pem/)
  assert.match(problems({ servers: ['https://a'], tls: { ca: 'none.pem', verify: false } }), /says nothing where verify is false/)
})

/** Takes a header of the PROXY protocol before each connection, then what `behind` makes of it. */
async function proxiedServer(
  behind: (socket: Socket) => void,
): Promise<{ readonly port: number; readonly headers: unknown[]; readonly server: Server }> {
  const headers: unknown[] = []
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('readable', function read() {
      const chunk = socket.read() as Buffer | null
      if (chunk === null) return
      socket.off('readable', read)
      const header = readProxyHeader(chunk, { versions: ['v1', 'v2'], bytesMax: 4096 })
      if (header.kind !== 'header') return void socket.destroy()
      headers.push([header.source?.address, header.source?.port, header.destination?.address, header.destination?.port])
      if (header.length < chunk.length) socket.unshift(chunk.subarray(header.length))
      behind(socket)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { port: (server.address() as AddressInfo).port, headers, server }
}

for (const version of ['v1', 'v2'] as const) {
  test(`PROXY protocol ${version}: servers learn the client's address, connection by connection, and that checks and jobs are our own`, async () => {
    const http = createHttp((_, response) => void response.end('done'))
    const proxied = await proxiedServer((socket) => http.emit('connection', socket))
    const rig = await startConfigRig({
      pools: { api: { servers: [`http://127.0.0.1:${proxied.port}`], proxyProtocol: version, health: { interval: '1h', rise: 1 } } },
      routes: [{ match: '/*' }, { match: 'POST /jobs', mode: 'queue' }],
    })
    try {
      await until('it is served', async () => (await rig.ask('/')).status === 200)
      const checks = proxied.headers.length
      assert.deepEqual(proxied.headers[0], [undefined, undefined, undefined, undefined])
      for (let n = 0; n < 2; n++) assert.equal((await rig.ask('/')).text, 'done')
      const gatewayPort = Number(new URL(rig.url).port)
      const ours = proxied.headers.slice(checks) as [string, number, string, number][]
      assert.deepEqual(
        ours.map(([from, , to, port]) => [from, to, port]),
        [
          ['127.0.0.1', '127.0.0.1', gatewayPort],
          ['127.0.0.1', '127.0.0.1', gatewayPort],
        ],
      )
      assert.ok(ours.every(([, port]) => port > 0))
      await rig.ask('/jobs', { method: 'POST', body: 'x' })
      await until('the job is there', () => proxied.headers.length === checks + 3)
      assert.deepEqual(proxied.headers.at(-1), [undefined, undefined, undefined, undefined])
    } finally {
      await rig[Symbol.asyncDispose]()
      http.close()
      proxied.server.close()
    }
  })
}

test('the header comes before TLS', async () => {
  using files = certificateFolder()
  const https = createHttps({ cert: LOCALHOST.cert, key: LOCALHOST.key }, (_, response) => void response.end('done'))
  const proxied = await proxiedServer((socket) => https.emit('connection', socket))
  const tls = { ca: files.text('ca.pem', AUTHORITY.cert) }
  await using rig = await startConfigRig({
    pools: { api: { servers: [`https://localhost:${proxied.port}`], proxyProtocol: 'v2', tls, health: { rise: 1 } } },
    routes: [{ match: '/*' }],
  })
  await until('it is served', async () => (await rig.ask('/')).status === 200)
  assert.ok(proxied.headers.some((header) => (header as string[])[0] === '127.0.0.1'))
  https.close()
  proxied.server.close()
})
