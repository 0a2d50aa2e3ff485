/** Threads that end, or cannot begin, and requests that change their thread on the way: nothing is lost by that. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { renameSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Worker } from 'node:worker_threads'
import type { ConfigFile } from '../../src/config/schema.ts'
import { systemNetwork } from '../../src/ports/system.ts'
import { certificateFolder, makeCertificate } from '../support/certificates.ts'
import { type ConfigRig, startConfigRig } from '../support/config-rig.ts'
import { ask } from '../support/http-client.ts'
import { RawClient } from '../support/raw-client.ts'
import { runCommand } from '../support/run-command.ts'
import { until } from '../support/until.ts'

interface Scene {
  readonly rig: ConfigRig
  /** A client whose connection a worker has. `request`: is answered 200 at once, by a server. */
  atWorker(request?: string): Promise<RawClient>
}

async function scene(t: TestContext, handle: (request: IncomingMessage, response: ServerResponse) => void, servers = 1): Promise<Scene> {
  const urls: string[] = []
  for (let n = 0; n < servers; n++) {
    const server = createServer(handle).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close().closeAllConnections())
    urls.push(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  }
  const config: ConfigFile = {
    workers: 3,
    pools: { api: { servers: urls, maxInFlight: 1, health: { interval: '100ms', rise: 1 } } },
    routes: [
      { match: '/queued/*', mode: 'queue' },
      { match: '/*', pool: 'api' },
    ],
  }
  // By port: connections that came to the chief.
  const chiefs = new Set<number | undefined>()
  const listen: typeof systemNetwork.listen = (options, on) =>
    systemNetwork.listen(options, (socket) => {
      chiefs.add(socket.remotePort)
      on(socket)
    })
  const rig = await startConfigRig(config, { network: { ...systemNetwork, listen } })
  t.after(() => rig[Symbol.asyncDispose]())
  await until('the servers are up', () => rig.events.filter(({ type }) => type === 'server-up').length === servers)
  const port = Number(new URL(rig.url).port)
  const atWorker = async (): Promise<RawClient> => {
    for (;;) {
      const client = await RawClient.connect(port)
      client.write('GET /first HTTP/1.1\r\nHost: a\r\n\r\n')
      await client.untilText('200 OK')
      if (!chiefs.has(client.socket.localPort)) return client
      client.destroy()
    }
  }
  return { rig, atWorker }
}

test('a gateway that hands over waits for the requests that may be on their way to its workers', async (t) => {
  const { rig, atWorker } = await scene(t, (_, response) => void response.end())
  const client = await atWorker()
  await rig.gateway.giveUp()
  assert.equal(client.ended, true, 'its store is closed, and a client may send still')
})

test('a request that is sent again by another thread has its trailers still', async (t) => {
  const held: ServerResponse[] = []
  const came: (string | undefined)[] = []
  const { rig, atWorker } = await scene(
    t,
    (request, response) => {
      if (request.url === '/held') return void held.push(response)
      request.resume().on('end', () => {
        // A kept connection that breaks would be no try.
        if (request.url === '/first') return void response.writeHead(200, { connection: 'close' }).end()
        came.push(request.trailers['x-sum'] as string | undefined)
        if (came.length === 1) request.socket.destroy()
        else response.end('twice')
      })
    },
    2,
  )
  const client = await atWorker()
  const other = ask(`${rig.url}/held`)
  await until('one server has something to do', () => held.length === 1)
  client.write('PUT /again HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n')
  await client.untilText('twice')
  assert.deepEqual(came, ['7', '7'])
  held[0]?.end()
  await other
})

test('a worker that cannot begin in the place of one that died is tried again until it can', async (t) => {
  const threads: Worker[] = []
  const remember = (thread: Worker): void => void threads.push(thread)
  process.on('worker', remember)
  t.after(() => process.off('worker', remember))
  const files = certificateFolder()
  t.after(() => files[Symbol.dispose]())
  const certificate = files.write('own', makeCertificate({ names: ['localhost'] }))
  const rig = await startConfigRig({
    workers: 3,
    listeners: [{ address: '127.0.0.1:0', tls: { certificates: [certificate], poll: '1h' } }],
    pools: { api: ['http://127.0.0.1:1'] },
    routes: [{ match: '/*' }],
  })
  t.after(() => rig[Symbol.asyncDispose]())
  const died = (): number => rig.events.filter(({ type }) => type === 'worker-died').length
  const away = join(files.folder, 'away')
  renameSync(certificate.cert, away)
  await threads.find(({ threadName }) => threadName === 'worker-1')?.terminate()
  await until('the next one has failed, too', () => died() >= 2)
  renameSync(away, certificate.cert)
  await until('it serves', async () => {
    const { workers } = (await ask(`${rig.adminUrl}/status`)).json() as { workers: { running: number } }
    return workers.running === 2
  })
})

test('an upgrade has not happened before the new process has begun with all of its threads', async (t) => {
  const pid = 4711
  const reasons = ['starting', 'starting', 'ready']
  const asked: (string | undefined)[] = []
  const admin = createServer((request, response) => {
    const reason = request.url === '/status' ? reasons.shift() : undefined
    asked.push(reason)
    const status = { version: '1', uptimeMs: 1, ready: { ok: reason === 'ready', reason }, listeners: [], pools: [], queues: [] }
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ pid, ...status }))
  }).listen(0, '127.0.0.1')
  await once(admin, 'listening')
  t.after(() => admin.close().closeAllConnections())
  const url = `http://127.0.0.1:${(admin.address() as AddressInfo).port}`
  const { code, out } = await runCommand(['upgrade', '--admin', url], { cwd: tmpdir() })
  assert.equal(code, 0)
  assert.match(out, /^pid 4711 has taken over/)
  assert.deepEqual(asked, [undefined, 'starting', 'starting', 'ready'])
})
