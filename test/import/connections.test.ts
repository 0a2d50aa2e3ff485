/**
 * What is about connections and clients, imported and run beside nginx and HAProxy: TLS with several certificates and with those of clients, servers with
 * https, and the PROXY protocol on both sides.
 */
import assert from 'node:assert/strict'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { writeFileSync } from 'node:fs'
import { writeProxyHeader } from '../../src/core/proxy-protocol/header.ts'
import { makeCertificate, type MadeCertificate } from '../support/certificates.ts'
import { closed } from '../support/closed.ts'
import { ask } from '../support/http-client.ts'
import { askTls } from '../support/tls-client.ts'
import { until } from '../support/until.ts'
import { besides, HAPROXY, NGINX_HOST, notInstalled, type Original, Scene } from './scene.ts'

const AUTHORITY = makeCertificate({ name: 'test authority', authority: true })
const certified = (name: string): MadeCertificate => makeCertificate({ names: [name], issuer: AUTHORITY })
const CERTIFICATES = {
  a: certified('a.example'),
  b: certified('b.example'),
  client: certified('client'),
  inner: certified('inner.example'),
}

/** Files as each of them wants them: HAProxy's have the key in them. */
function writeCertificates({ folder }: Scene): void {
  for (const [name, { cert, key }] of Object.entries(CERTIFICATES)) {
    writeFileSync(join(folder, `${name}.crt`), cert)
    writeFileSync(join(folder, `${name}.key`), key)
    writeFileSync(join(folder, `${name}.pem`), cert + key)
  }
  writeFileSync(join(folder, 'ca.pem'), AUTHORITY.cert)
}

/** What a client sees over TLS; '' where it gets no answer. */
async function seenOverTls(port: number, options: Parameters<typeof askTls>[1]): Promise<unknown> {
  try {
    const { status, text, shown, protocol } = await askTls(port, { rejectUnauthorized: false, ...options })
    // nginx lets a client in that has no certificate, and tells it so.
    if (status === 400) return 'not let in'
    return { status, text: text.replaceAll(/\r\n|^[0-9a-f]+$|\n/gm, ''), shown, protocol }
  } catch {
    return 'not let in'
  }
}

const TLS_TEXT: Readonly<Record<Original, string>> = {
  nginx: `upstream app { server \${A}; } upstream other { server \${B}; }
server { listen \${TLS} ssl default_server; server_name a.example; ssl_certificate \${FOLDER}/a.crt; ssl_certificate_key \${FOLDER}/a.key;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers HIGH:!aNULL;
  location / { proxy_pass http://app; ${NGINX_HOST} } }
server { listen \${TLS} ssl; server_name b.example; ssl_certificate \${FOLDER}/b.crt; ssl_certificate_key \${FOLDER}/b.key;
  location / { proxy_pass http://other; ${NGINX_HOST} } }
server { listen \${PORT}; return 301 https://$host$request_uri; }`,
  haproxy: `${HAPROXY}frontend www
 bind :\${PORT}
 bind :\${TLS} ssl crt \${FOLDER}/a.pem crt \${FOLDER}/b.pem ciphers HIGH:!aNULL alpn http/1.1
 http-request redirect scheme https code 301 unless { ssl_fc }
 use_backend other if { hdr(host) -i b.example }
 default_backend app
backend app
 server s \${A}
backend other
 server s \${B}
`,
}

const CLIENTS_TEXT: Readonly<Record<Original, string>> = {
  nginx: `server { listen \${TLS} ssl; ssl_certificate \${FOLDER}/a.crt; ssl_certificate_key \${FOLDER}/a.key;
  ssl_verify_client on; ssl_client_certificate \${FOLDER}/ca.pem; ssl_protocols TLSv1.3;
  location / { proxy_pass http://\${A}; ${NGINX_HOST} } }`,
  haproxy: `${HAPROXY}listen www
 bind :\${TLS} ssl crt \${FOLDER}/a.pem ca-file \${FOLDER}/ca.pem verify required ssl-min-ver TLSv1.3
 server s \${A}
`,
}

const SERVERS_TEXT: Readonly<Record<Original, string>> = {
  nginx: `upstream app { server \${SECURE}; } upstream wrong { server \${SECURE}; }
server { listen \${PORT}; ${NGINX_HOST} proxy_ssl_verify on; proxy_ssl_trusted_certificate \${FOLDER}/ca.pem; proxy_ssl_server_name on; proxy_ssl_session_reuse off;
  proxy_ssl_certificate \${FOLDER}/client.crt; proxy_ssl_certificate_key \${FOLDER}/client.key;
  location / { proxy_pass https://app; proxy_ssl_name inner.example; }
  location /wrong/ { proxy_pass https://wrong; proxy_ssl_name outer.example; } }`,
  haproxy: `${HAPROXY}frontend www
 bind :\${PORT}
 use_backend wrong if { path_beg /wrong/ }
 default_backend app
backend app
 server s \${SECURE} ssl verify required ca-file \${FOLDER}/ca.pem crt \${FOLDER}/client.pem sni str(inner.example)
backend wrong
 server s \${SECURE} ssl verify required ca-file \${FOLDER}/ca.pem crt \${FOLDER}/client.pem sni str(outer.example)
`,
}

const PROXIED_TEXT: Readonly<Record<Original, string>> = {
  nginx: `server { listen \${PORT} proxy_protocol; set_real_ip_from 127.0.0.0/8; real_ip_header proxy_protocol;
  location / { proxy_pass http://\${A}; ${NGINX_HOST} proxy_set_header X-Real-IP $remote_addr; } }`,
  haproxy: `${HAPROXY}listen www\n bind :\${PORT} accept-proxy\n http-request set-header X-Real-IP %[src]\n server s \${A}\n`,
}

suite('what is about connections, beside the original', { concurrency: 2 }, () => {
  for (const program of ['nginx', 'haproxy'] as const) {
    const skip = notInstalled(program)

    test(`${program}: each name has its certificate and its servers, and without TLS everybody is sent there`, { skip }, async () => {
      await using scene = await Scene.start(['TLS', 'PORT'])
      writeCertificates(scene)
      const plain = (port: number) => ask(`http://127.0.0.1:${port}/x?y=1`, { headers: { host: 'b.example' } })
      const ports = await besides(scene, program, { text: TLS_TEXT[program], isReady: () => plain(scene.port()) })
      const seen = await Promise.all(
        ports.map(async (port) => [
          ...(await Promise.all(['a.example', 'b.example'].map((servername) => seenOverTls(port('TLS'), { servername })))),
          await seenOverTls(port('TLS'), { servername: 'b.example', maxVersion: 'TLSv1.2' }),
          // It names nobody whom a certificate is for.
          await seenOverTls(port('TLS'), { servername: 'unknown.example' }),
          [(await plain(port('PORT'))).status, (await plain(port('PORT'))).headers.location],
        ]),
      )
      assert.deepEqual(seen[1], seen[0])
      const [, second] = seen[0] ?? []
      assert.equal((second as { shown: string } | undefined)?.shown, 'b.example')
    })

    test(`${program}: only clients with a certificate are let in`, { skip }, async () => {
      await using scene = await Scene.start(['TLS'])
      writeCertificates(scene)
      const { cert, key } = CERTIFICATES.client
      const isReady = () => askTls(scene.port('TLS'), { rejectUnauthorized: false, cert, key })
      const ports = await besides(scene, program, { text: CLIENTS_TEXT[program], isReady })
      const stranger = makeCertificate({ name: 'stranger' })
      const seen = await Promise.all(
        ports.map(async (port) => [
          await seenOverTls(port('TLS'), { cert, key }),
          await seenOverTls(port('TLS'), {}),
          await seenOverTls(port('TLS'), { cert: stranger.cert, key: stranger.key }),
          await seenOverTls(port('TLS'), { cert, key, maxVersion: 'TLSv1.2' }),
        ]),
      )
      assert.deepEqual(seen[1], seen[0])
      assert.deepEqual(seen[0]?.slice(1), ['not let in', 'not let in', 'not let in'])
    })

    test(`${program}: servers are verified, and shown a certificate`, { skip }, async () => {
      await using scene = await Scene.start()
      writeCertificates(scene)
      const { cert, key } = CERTIFICATES.inner
      const secure = createHttpsServer(
        { cert, key, ca: AUTHORITY.cert, requestCert: true, rejectUnauthorized: true },
        (request, response) => {
          const { servername } = request.socket as unknown as { readonly servername: string }
          response.end(`${request.url} ${servername}`)
        },
      )
      await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve))
      try {
        scene.values.set('SECURE', `127.0.0.1:${(secure.address() as AddressInfo).port}`)
        const at = (port: number, path: string) => ask(`http://127.0.0.1:${port}${path}`)
        const ports = await besides(scene, program, { text: SERVERS_TEXT[program], isReady: () => at(scene.port(), '/') })
        const seen = await Promise.all(
          ports.map(async (port) => {
            const [good, wrong] = [await at(port('PORT'), '/x'), await at(port('PORT'), '/wrong/x')]
            // 502, or 503 once checks have said so.
            return [good.status, good.text, wrong.status >= 502, wrong.text.includes('/wrong/x ')]
          }),
        )
        assert.deepEqual(seen[1], seen[0])
        assert.deepEqual(seen[0], [200, '/x inner.example', true, false])
      } finally {
        secure.closeAllConnections()
        await new Promise((resolve) => secure.close(resolve))
      }
    })

    test(`${program}: the client is who the PROXY protocol says, and who sends no header gets nothing`, { skip }, async () => {
      await using scene = await Scene.start()
      const ends = { source: { address: '203.0.113.7', port: 4711 }, destination: { address: '198.51.100.1', port: 80 } }
      const spoken = async (port: number, before: Uint8Array | string): Promise<string> => {
        const socket = connect(port, '127.0.0.1')
        let text = ''
        socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
        socket.on('error', () => undefined)
        socket.write(before)
        socket.write('GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
        await closed(socket)
        return /x-real-ip=\S*/.exec(text)?.[0] ?? 'nothing'
      }
      const header = (version: 'v1' | 'v2'): Uint8Array | string => writeProxyHeader(version, ends)
      const isReady = async (): Promise<void> => assert.notEqual(await spoken(scene.port(), header('v1')), 'nothing')
      const left = program === 'nginx' ? ['listen'] : []
      const ports = await besides(scene, program, { text: PROXIED_TEXT[program], isReady, left })
      const seen = await Promise.all(
        ports.map(async (port) => [
          await spoken(port('PORT'), header('v1')),
          await spoken(port('PORT'), header('v2')),
          await spoken(port('PORT'), ''),
        ]),
      )
      assert.deepEqual(seen[1], seen[0])
      assert.deepEqual(seen[0], ['x-real-ip=203.0.113.7', 'x-real-ip=203.0.113.7', 'nothing'])
    })
  }

  for (const [parameter, version] of [
    ['send-proxy', 'v1'],
    ['send-proxy-v2', 'v2'],
  ] as const) {
    test(`haproxy: ${parameter} tells servers who the client is`, { skip: notInstalled('haproxy') }, async () => {
      await using scene = await Scene.start()
      const headers: Buffer[] = []
      const server = createServer((socket) => {
        let bytes = Buffer.alloc(0)
        socket.on('error', () => undefined)
        socket.on('data', (chunk: Buffer) => {
          bytes = Buffer.concat([bytes, chunk])
          const at = bytes.indexOf('GET ')
          if (at < 0 || !bytes.includes('\r\n\r\n', at)) return
          headers.push(bytes.subarray(0, at))
          socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok')
        })
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      try {
        scene.values.set('RAW', `127.0.0.1:${(server.address() as AddressInfo).port}`)
        const text = `${HAPROXY}listen www\n bind :\${PORT}\n server s \${RAW} ${parameter}\n`
        const ports = await besides(scene, 'haproxy', { text, isReady: () => ask(`http://127.0.0.1:${scene.port()}/`) })
        for (const port of ports) {
          headers.length = 0
          const socket = connect(port('PORT'), '127.0.0.1')
          socket.resume()
          await until('it is connected', () => socket.localPort !== undefined)
          const own = socket.localPort ?? 0
          socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
          await closed(socket)
          const [header = Buffer.alloc(0)] = headers
          assert.equal(header.toString('latin1').startsWith('PROXY TCP4 127.0.0.1 '), version === 'v1')
          // In both the port of the client is in it: as a number, or as two bytes behind signature, command, length and the two addresses.
          if (version === 'v1') assert.equal(header.toString('latin1').split(' ')[4], String(own))
          else assert.equal(header.readUInt16BE(24), own)
        }
      } finally {
        await new Promise((resolve) => server.close(resolve))
      }
    })
  }
})
