/** The PROXY protocol with those who are in front of gateways, and behind them, in the world: HAProxy and nginx. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startChild } from '../support/children.ts'
import { startConfigRig } from '../support/config-rig.ts'
import { ask } from '../support/http-client.ts'
import { freePort, missing } from '../support/programs.ts'
import { askTls } from '../support/tls-client.ts'
import { AUTHORITY, tlsScene } from '../support/tls-scene.ts'
import { until } from '../support/until.ts'

process.env['PATH'] += ':/usr/sbin:/usr/local/sbin'

const NO_HAPROXY = missing('haproxy', '-v')
const NO_NGINX = missing('nginx', '-v')
const STREAM = '/usr/lib/nginx/modules/ngx_stream_module.so'
const NO_STREAM = NO_NGINX || (existsSync(STREAM) ? false : 'there is no stream module of nginx: apt-get install libnginx-mod-stream')

interface Running extends AsyncDisposable {
  readonly port: number
}

async function running(
  command: (file: string, folder: string) => readonly string[],
  config: (port: number, folder: string) => string,
): Promise<Running> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-proxy-'))
  const port = await freePort()
  const file = join(folder, 'config')
  writeFileSync(file, config(port, folder))
  const child = startChild(command(file, folder), () => undefined)
  await until(`it listens; it says: ${child.output}`, () => canConnect(port))
  return {
    port,
    async [Symbol.asyncDispose]() {
      await child.kill()
      rmSync(folder, { recursive: true })
    },
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true))
    socket.on('error', () => resolve(false))
    socket.unref()
    socket.on('connect', () => socket.destroy())
  })
}

const haproxy = (config: (port: number) => string): Promise<Running> =>
  running(
    (file) => ['haproxy', '-db', '-f', file],
    (port) => `defaults\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n${config(port)}\n`,
  )

const nginx = (config: (port: number, folder: string) => string): Promise<Running> =>
  running(
    (file, folder) => ['nginx', '-p', folder, '-c', file, '-e', join(folder, 'errors')],
    (port, folder) => `daemon off;\nmaster_process off;\npid ${folder}/pid;\n${config(port, folder)}\n`,
  )

const proxyProtocol = { from: ['127.0.0.1'] }

for (const [version, word] of [
  ['v1', 'send-proxy'],
  ['v2', 'send-proxy-v2'],
] as const) {
  test(`HAProxy in front (${version}): the client's address, behind TLS, and checks without one`, { skip: NO_HAPROXY }, async () => {
    await using all = await tlsScene({}, { listener: { proxyProtocol } })
    await using front = await haproxy(
      (port) =>
        `listen a\n  mode tcp\n  bind 127.0.0.1:${port}\n  source 127.0.0.1\n  server s 127.0.0.1:${all.port} ${word} check inter 100ms check-send-proxy\n`,
    )
    const answer = await askTls(front.port, { ca: AUTHORITY.cert, localAddress: '127.0.0.5' } as never)
    assert.equal((JSON.parse(answer.text) as Record<string, string>)['x-forwarded-for'], '127.0.0.5')
    const refused = all.rig.events.filter(({ type }) => type === 'connections-refused')
    assert.deepEqual(refused, [])
  })

  test(`HAProxy behind (${version}): it learns the client's address`, { skip: NO_HAPROXY }, async () => {
    await using behind = await haproxy(
      (port) =>
        `frontend a\n  mode http\n  bind 127.0.0.1:${port} accept-proxy\n  http-request return status 200 content-type text/plain lf-string "%[src] %[dst_port]"\n`,
    )
    await using rig = await startConfigRig({
      pools: {
        api: { servers: [`http://127.0.0.1:${behind.port}`], proxyProtocol: version, health: { path: '/', interval: '100ms', rise: 1 } },
      },
      routes: [{ match: '/*' }],
    })
    await until('it is served', async () => (await rig.ask('/')).status === 200)
    for (let n = 0; n < 3; n++) assert.equal((await rig.ask('/')).text, `127.0.0.1 ${new URL(rig.url).port}`)
  })
}

test('nginx in front: the client is who it says', { skip: NO_STREAM }, async () => {
  await using all = await tlsScene({}, { more: [{ address: '127.0.0.1:0', proxyProtocol }] })
  const plain = all.rig.gateway.listeners[1]?.port
  await using front = await nginx(
    (port) =>
      `load_module ${STREAM};\nevents {}\nstream { server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${plain}; proxy_protocol on; proxy_bind 127.0.0.1; } }`,
  )
  const headers = (await ask(`http://127.0.0.1:${front.port}/`)).json() as unknown as Record<string, string>
  assert.equal(headers['x-forwarded-for'], '127.0.0.1')
  assert.match(String(headers['forwarded']), /for=127\.0\.0\.1/)
  assert.equal(await all.metric('spillway_proxy_headers_refused_total'), 0)
})

test('nginx behind: it learns the client, of both versions, and checks are answered', { skip: NO_NGINX }, async () => {
  await using behind = await nginx(
    (port) =>
      `events {}\nhttp { access_log off; server { listen 127.0.0.1:${port} proxy_protocol; location / { return 200 "$proxy_protocol_addr $proxy_protocol_server_port"; } } }`,
  )
  for (const version of ['v1', 'v2'] as const) {
    await using rig = await startConfigRig({
      pools: {
        api: { servers: [`http://127.0.0.1:${behind.port}`], proxyProtocol: version, health: { path: '/', interval: '100ms', rise: 1 } },
      },
      routes: [{ match: '/*' }],
    })
    await until('it is served', async () => (await rig.ask('/')).status === 200)
    assert.equal((await rig.ask('/')).text, `127.0.0.1 ${new URL(rig.url).port}`)
  }
})
