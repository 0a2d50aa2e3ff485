/**
 * The configuration is read again and again while everything runs: servers come, go and change places, a pool has another name, a file is wrong.
 * No request fails, no tunnel is closed, no job is lost or done twice. In full a hundred reloads in half a minute.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ChildGateway, startGateway, writeConfig } from '../support/child-gateway.ts'
import { FastClient } from '../support/fast-client.ts'
import { MetricsPage } from '../support/gateway-process.ts'
import { ask } from '../support/http-client.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { until } from '../support/until.ts'
import { FULL, sized, tellFigures } from './form.ts'

const RELOADS = sized([100, 12])
const EVERY_MS = sized([300, 0])
const SERVERS = 5
const TUNNELS = 8
const CLIENTS = 12

/** Answers, takes jobs, and echoes in tunnels. Says which jobs it was given. */
async function startServer(t: TestContext, jobs: string[]): Promise<number> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((request, response) => {
    request.resume()
    const job = request.headers['spillway-job']
    if (typeof job === 'string') jobs.push(job)
    request.on('end', () => setTimeout(() => response.end('done'), request.url === '/slow' ? 30 : 1))
  })
  server.on('upgrade', (_, socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

class Tunnel {
  echoed = 0
  closed = false
  readonly #socket: Socket

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('error', () => undefined).on('close', () => (this.closed = true))
    socket.on('data', (bytes) => {
      this.echoed += bytes.length
      setTimeout(() => socket.write('x'), 5)
    })
    socket.write('x')
  }

  static async open(t: TestContext, port: number): Promise<Tunnel> {
    const socket = connect(port, '127.0.0.1')
    t.after(() => socket.destroy())
    socket.write('GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    const head = await new Promise<Buffer>((resolve, reject) => socket.once('data', resolve).once('error', reject))
    assert.match(head.toString(), /^HTTP\/1\.1 101 /)
    return new Tunnel(socket)
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

interface Load {
  readonly jobs: string[]
  count: number
  stop: boolean
}

async function client(port: number, load: Load, i: number): Promise<void> {
  const connection = await FastClient.connect(port)
  for (let n = 0; !load.stop; n++) {
    const kind = (i + n) % 4
    if (kind === 0) {
      const answer = await connection.send('POST', '/work', '', `${i} ${n}`)
      assert.equal(answer.status, 202, answer.head + answer.body.toString())
      load.jobs.push((JSON.parse(answer.body.toString()) as { readonly id: string }).id)
    } else {
      const answer = await connection.send(kind === 1 ? 'POST' : 'GET', kind === 3 ? '/slow' : '/', '', kind === 1 ? 'x' : '')
      assert.equal(answer.status, 200, answer.head + answer.body.toString())
    }
    load.count++
  }
  connection.close()
}

function anyConfig(ports: readonly number[], random: SeededRandom): ConfigFile {
  const name = random.unit() < 0.3 ? 'other' : 'api'
  const chosen = ports.filter(() => random.unit() < 0.5)
  const used = chosen.length === 0 ? [ports[Math.floor(random.unit() * ports.length)] as number] : chosen
  const weighed = used.map((port) => ({ url: `http://127.0.0.1:${port}`, weight: 1 + Math.floor(random.unit() * 4) }))
  const balances = ['peak-ewma', 'round-robin', 'least-requests', 'random', { hash: 'address' }] as const
  return {
    pools: {
      [name]: {
        servers: weighed,
        maxInFlight: 16 + Math.floor(random.unit() * 64),
        balance: balances[Math.floor(random.unit() * balances.length)] ?? 'random',
        health: { interval: random.unit() < 0.5 ? '500ms' : '1s' },
        wait: '10s',
      },
    },
    queues: { work: { concurrency: 1 + Math.floor(random.unit() * 8) } },
    routes: [{ match: 'POST /work', mode: 'queue' }, { match: '/*' }],
  }
}

async function begin(t: TestContext, ports: readonly number[]): Promise<{ gateway: ChildGateway; folder: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-reloads-'))
  const gateway = await startGateway(
    { pools: { api: ports.map((port) => `http://127.0.0.1:${port}`) }, routes: [{ match: 'POST /work', mode: 'queue' }, { match: '/*' }] },
    { folder },
  )
  t.after(async () => {
    await gateway.kill()
    rmSync(folder, { recursive: true })
  })
  await until('the pool is up', async () => (await ask(`${gateway.url}/`)).status === 200)
  return { gateway, folder }
}

test(`${RELOADS} reloads that change the servers, under load`, async (t) => {
  const done: string[] = []
  const ports = await Promise.all(Array.from({ length: SERVERS }, () => startServer(t, done)))
  const { gateway, folder } = await begin(t, ports)
  const port = Number(new URL(gateway.url).port)
  const tunnels = await Promise.all(Array.from({ length: TUNNELS }, () => Tunnel.open(t, port)))
  const load: Load = { jobs: [], count: 0, stop: false }
  const clients = Promise.all(Array.from({ length: CLIENTS }, (_, i) => client(port, load, i)))
  clients.catch(() => undefined)
  const random = new SeededRandom(Number(process.env['SEED'] ?? 1))
  for (let n = 0; n < RELOADS; n++) {
    const isWrong = n % 10 === 9
    writeConfig(isWrong ? ({ pools: { api: ['nowhere'] } } as ConfigFile) : anyConfig(ports, random), { folder })
    const answer = await ask(`${gateway.adminUrl}/api/reload`, { method: 'POST' })
    assert.deepEqual([answer.status, answer.json()['needsRestart']], isWrong ? [422, undefined] : [200, []], answer.text)
    const enough = load.count + 50
    await Promise.race([clients, until('traffic flows', () => load.count > enough)])
    if (FULL) await Promise.race([clients, new Promise((resolve) => setTimeout(resolve, EVERY_MS))])
  }
  load.stop = true
  await clients
  const echoed = tunnels.map((tunnel) => tunnel.echoed)
  await until('each tunnel still echoes', () => tunnels.every((tunnel, i) => tunnel.echoed > (echoed[i] as number)))
  assert.ok(tunnels.every(({ closed }) => !closed))
  for (const tunnel of tunnels) tunnel.destroy()
  const metrics = async (): Promise<MetricsPage> => new MetricsPage((await ask(`${gateway.adminUrl}/metrics`)).text)
  await until('all jobs are done', async () => (await metrics()).unfinished('work') === 0, 60_000)
  assert.deepEqual(done.toSorted(), load.jobs.toSorted(), 'every job once')
  await until('nothing is in flight anywhere', async () => {
    const page = await metrics()
    return page.sum('spillway_server_in_flight') + page.sum('spillway_server_tunnels') + page.sum('spillway_server_draining') === 0
  })
  tellFigures(t, `${load.count} requests, ${load.jobs.length} jobs, ${TUNNELS} tunnels, ${RELOADS} reloads: none failed`)
})

test('canary: a request that fails is noticed', async (t) => {
  const ports = [await startServer(t, [])]
  const { gateway, folder } = await begin(t, ports)
  const load: Load = { jobs: [], count: 0, stop: false }
  const running = client(Number(new URL(gateway.url).port), load, 0)
  running.catch(() => undefined)
  await until('traffic flows', () => load.count > 10)
  writeConfig({ pools: { api: [`http://127.0.0.1:${ports[0]}`] }, routes: [{ match: '/else' }] }, { folder })
  assert.equal((await ask(`${gateway.adminUrl}/api/reload`, { method: 'POST' })).status, 200)
  await assert.rejects(running, /404/)
})
