/**
 * Another process takes over from a gateway while it is in use: nobody who connects is refused, no request fails, no job is lost, tunnels stay
 * where they are. And whatever goes wrong with the new one leaves the old one, or at least a gateway, behind.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { bareEnvironment } from '../support/child-environment.ts'
import { type ChildGateway, type LoggedLine, startGateway, writeConfig } from '../support/child-gateway.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { RawClient } from '../support/raw-client.ts'
import { runCommand } from '../support/run-command.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts')

interface Rig {
  readonly gateway: ChildGateway
  readonly server: TestServer
  readonly folder: string
  readonly config: ConfigFile
  /** Of the processes that have said that they listen, in order. */
  pids(): number[]
  cli(...args: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }>
}

async function rig(t: TestContext, more: Partial<ConfigFile> = {}): Promise<Rig> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-upgrade-'))
  const server = await startTestServer()
  const config: ConfigFile = {
    pools: { api: [`http://127.0.0.1:${server.port}`] },
    routes: [{ match: 'POST /work', mode: 'queue' }, { match: 'POST /held', mode: 'spill', wait: '20s' }, { match: '/*' }],
    drainTimeout: '10s',
    ...more,
  }
  const gateway = await startGateway(config, { folder })
  const pids = (): number[] => gateway.of('started').map((line) => Number(line['pid']))
  t.after(async () => {
    const successors = gateway.of('upgrade-began').map((line) => Number(line['pid']))
    for (const pid of [...pids(), ...successors]) end(pid)
    await gateway.exited
    await server.kill()
    rmSync(folder, { recursive: true })
  })
  await until('the pool is up', async () => (await ask(`${gateway.url}/`)).status === 200)
  const cli: Rig['cli'] = (...args) => runCommand([...args, '--admin', gateway.adminUrl], { cwd: folder })
  return { gateway, server, folder, config, pids, cli }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}

async function pidAt(gateway: ChildGateway): Promise<number> {
  return Number((await ask(`${gateway.adminUrl}/status`)).json()['pid'])
}

interface Load {
  readonly jobs: readonly string[]
  readonly direct: number
  readonly held: number
  /** Rejects when a request has failed. */
  readonly ended: Promise<unknown>
  stop(): void
}

/** Each request on a connection of its own: one that is refused shows. */
function startLoad({ url }: ChildGateway): Load {
  const load = { jobs: [] as string[], direct: 0, held: 0, isOver: false }
  const client = async (send: (n: number) => Promise<void>): Promise<void> => {
    for (let n = 0; !load.isOver; n++) await send(n)
  }
  const post = (path: string, body: string): Promise<Answer> => ask(`${url}${path}`, { method: 'POST', body })
  const clients = [0, 1, 2].flatMap((i) => [
    client(async (n) => {
      const answer = await post('/work', `${i} ${n}`)
      assert.equal(answer.status, 202, answer.text)
      load.jobs.push(String(answer.json()['id']))
    }),
    client(async () => {
      const answer = await ask(`${url}/`)
      assert.equal(answer.status, 200, answer.text)
      load.direct++
    }),
    client(async (n) => {
      const answer = await post('/held', `${n}`)
      // Whoever was held when the store was given away is told where its job is.
      assert.ok(answer.status === 200 || answer.status === 202, answer.text)
      load.held++
    }),
  ])
  const ended = Promise.all(clients)
  ended.catch(() => undefined)
  return {
    jobs: load.jobs,
    ended,
    get direct() {
      return load.direct
    },
    get held() {
      return load.held
    },
    stop: () => {
      load.isOver = true
    },
  }
}

async function flows(load: Load): Promise<void> {
  const { direct, held } = load
  const jobs = load.jobs.length
  const flow = until('traffic flows', () => load.jobs.length > jobs + 20 && load.direct > direct + 20 && load.held > held + 20)
  await Promise.race([load.ended, flow])
}

test('under load a new process takes over twice: no connection is refused, no request fails, each job is done once', async (t) => {
  const it = await rig(t)
  const { gateway, server } = it
  const load = startLoad(gateway)
  await flows(load)
  gateway.signal('SIGUSR2')
  await until('it has taken over', () => gateway.of('upgraded').length === 1)
  assert.deepEqual(await gateway.gone, { code: 0, signal: null })
  await flows(load)
  const second = await it.cli('upgrade')
  assert.deepEqual(second, {
    code: 0,
    out: `pid ${it.pids()[2]} has taken over; the process before it ends when its last calls have\n`,
    err: '',
  })
  await flows(load)
  load.stop()
  await load.ended
  assert.equal(new Set(it.pids()).size, 3)
  assert.equal(await pidAt(gateway), it.pids()[2])
  const done = (): unknown[] => server.received.filter(({ url }) => url === '/work').map(({ headers }) => headers['spillway-job'])
  await until('all jobs are done', () => done().length >= load.jobs.length)
  assert.deepEqual(done().toSorted(), load.jobs.toSorted())
})

test('jobs that run may end before the store is given away, and none is begun meanwhile', async (t) => {
  const it = await rig(t)
  const { gateway, server } = it
  const [running, release] = gate(server, '/work')
  const first = (await ask(`${gateway.url}/work`, { method: 'POST', body: 'a' })).headers['location'] as string
  await running
  gateway.signal('SIGUSR2')
  await until('it rests', async () => (await ask(`${gateway.adminUrl}/status`)).json()['successor'] !== undefined)
  const second = (await ask(`${gateway.url}/work`, { method: 'POST', body: 'b' })).headers['location'] as string
  assert.equal((await ask(`${gateway.url}${second}`)).json()['status'], 'queued')
  assert.equal(gateway.of('upgraded').length, 0)
  release()
  await until('it has taken over', () => gateway.of('upgraded').length === 1)
  for (const job of [first, second]) {
    await until('it is done', async () => (await ask(`${gateway.url}${job}`)).json()['status'] === 'succeeded')
    assert.equal((await ask(`${gateway.url}${job}`)).json()['attempt'], 1)
  }
})

/** The first request to this path waits until it is let go. */
function gate(server: TestServer, path: string): [running: Promise<void>, release: () => void] {
  const [running, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  server.handle = async ({ url }, response) => {
    if (url === path) {
      running.resolve()
      await released.promise
    }
    response.end('done')
  }
  return [running.promise, released.resolve]
}

test('a direct call and a tunnel that are under way stay with the old process until they end', async (t) => {
  const echo = createHttpServer().on('upgrade', (_, socket) => {
    socket.on('error', () => undefined)
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    socket.pipe(socket)
  })
  const port = await listening(echo, t)
  const it = await rig(t)
  writeConfig(
    {
      ...it.config,
      pools: { api: [`http://127.0.0.1:${it.server.port}`], echo: [`http://127.0.0.1:${port}`] },
      routes: [
        { match: '/echo', pool: 'echo' },
        { match: '/*', pool: 'api' },
      ],
    },
    it,
  )
  assert.equal((await it.cli('reload')).code, 0)
  const { gateway, server } = it
  const tunnel = await RawClient.connect(Number(new URL(gateway.url).port))
  t.after(() => tunnel.socket.destroy())
  tunnel.write('GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  await until('there is a tunnel', () => tunnel.text.includes('101 Switching'))
  const [running, release] = gate(server, '/slow')
  const slow = ask(`${gateway.url}/slow`)
  await running
  gateway.signal('SIGUSR2')
  await until('it has taken over', () => gateway.of('upgraded').length === 1)
  assert.equal(await pidAt(gateway), it.pids()[1])
  tunnel.write('still there')
  await until('it is echoed', () => tunnel.text.endsWith('still there'))
  release()
  assert.equal((await slow).text, 'done')
  tunnel.socket.end()
  assert.deepEqual(await gateway.gone, { code: 0, signal: null })
})

test('a tunnel that does not end by itself is ended gently before the old process goes', async (t) => {
  const chat = createHttpServer().on('upgrade', (_, socket) => {
    socket.on('error', () => undefined)
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n')
    socket.resume().on('end', () => socket.end('bye'))
  })
  const pools = { api: [`http://127.0.0.1:${await listening(chat, t)}`] }
  chat.on('request', (_, response) => void response.end())
  const { gateway } = await rig(t, { pools, routes: [{ match: '/*' }], drainTimeout: '1s' })
  const tunnel = await RawClient.connect(Number(new URL(gateway.url).port))
  t.after(() => tunnel.socket.destroy())
  tunnel.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n')
  await until('there is a tunnel', () => tunnel.text.includes('101 Switching'))
  gateway.signal('SIGUSR2')
  await until('it is over', () => tunnel.ended || tunnel.closed)
  assert.ok(tunnel.text.endsWith('bye'), 'the server heard it first')
  assert.deepEqual(await gateway.gone, { code: 0, signal: null })
})

async function listening(server: HttpServer, t: TestContext): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

test('a wrong configuration changes nothing, and the command says so', async (t) => {
  const it = await rig(t)
  writeFileSync(join(it.folder, 'spillway.yaml'), '{ not a configuration')
  const { code, out, err } = await it.cli('upgrade')
  assert.deepEqual([code, out], [1, ''])
  assert.match(err, /^spillway upgrade: pid \d+ ended with exit code 2 before it served; what it printed says why\n$/)
  assert.match(it.gateway.errors, /spillway\.yaml:1/)
  assert.deepEqual(it.gateway.of('upgrade-failed').length, 1)
  assert.equal(await pidAt(it.gateway), it.pids()[0])
  writeConfig(it.config, it)
  assert.equal((await it.cli('upgrade')).code, 0)
})

test('a new process that has the store and cannot serve leaves it to the old one, which begins anew', async (t) => {
  const it = await rig(t)
  const { gateway } = it
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.after(() => taken.close())
  const job = (await ask(`${gateway.url}/work`, { method: 'POST', body: 'a' })).headers['location'] as string
  const { port } = new URL(gateway.url)
  const listeners = [`127.0.0.1:${port}`, `127.0.0.1:${(taken.address() as AddressInfo).port}`]
  writeConfig({ ...it.config, listeners }, it)
  const { code, err } = await it.cli('upgrade')
  assert.equal(code, 1)
  assert.match(err, /did not take over, the process before it goes on|has not taken over/)
  assert.match(gateway.errors, /is in use by another process/)
  assert.equal((await ask(`${gateway.url}${job}`)).json()['status'], 'succeeded')
})

test('a gateway that somebody else supervises over a channel is not upgraded behind its back', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-upgrade-'))
  const file = writeConfig({ pools: { api: ['http://127.0.0.1:1'] }, routes: [{ match: '/*' }] }, { folder })
  const child = spawn(process.execPath, [MAIN, 'run', file], { env: bareEnvironment(), stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  const gone = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGKILL')
    await gone
    rmSync(folder, { recursive: true })
  })
  let out = ''
  child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()))
  const started = (): LoggedLine | undefined => linesOf(out).find(({ type }) => type === 'started')
  await until('it listens', () => started() !== undefined)
  const answer = await ask(`http://${String(started()?.['admin'])}/api/upgrade`, { method: 'POST' })
  assert.equal(answer.status, 409)
  assert.equal(answer.json()['code'], 'upgrade_refused')
  assert.match(String(answer.json()['detail']), /it was started by another process that ends it with itself/)
})

function linesOf(out: string): LoggedLine[] {
  return out
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as LoggedLine)
}

test('sockets that a supervisor has bound are taken by their address; one that no listener has is closed', async (t) => {
  const server = await startTestServer()
  const bound = [createServer(), createServer()]
  for (const one of bound) {
    one.listen(0, '127.0.0.1')
    await once(one, 'listening')
  }
  const [port = 0, other = 0] = bound.map((one) => (one.address() as AddressInfo).port)
  const fds = bound.map((one) => (one as unknown as { readonly _handle: { readonly fd: number } })._handle.fd)
  const folder = mkdtempSync(join(tmpdir(), 'spillway-upgrade-'))
  const file = writeConfig(
    { listeners: [`127.0.0.1:${port}`], pools: { api: [`http://127.0.0.1:${server.port}`] }, routes: [{ match: '/*' }] },
    { folder },
  )
  const command = `export LISTEN_FDS=2 LISTEN_PID=$$; exec "${process.execPath}" "${MAIN}" run "${file}"`
  const child = spawn('sh', ['-c', command], { env: bareEnvironment(), stdio: ['ignore', 'pipe', 'inherit', ...fds] })
  const gone = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGKILL')
    await gone
    await server.kill()
    rmSync(folder, { recursive: true })
  })
  // The supervisor's own copies are no longer needed: had the gateway not taken its one, nobody would listen there.
  for (const one of bound) one.close()
  let out = ''
  child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()))
  await until('it listens', () => linesOf(out).some(({ type }) => type === 'started'))
  await until('it serves', async () => (await ask(`http://127.0.0.1:${port}/`)).status === 200)
  const warning = linesOf(out).find(({ type }) => type === 'warning')
  assert.equal(warning?.['message'], `no listener has the address 127.0.0.1:${other} any more`)
  const refused = connect(other, '127.0.0.1')
  const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'ECONNREFUSED')
})

test('a number of sockets that is none is an error before anything is opened', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-upgrade-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = writeConfig({ pools: { api: ['http://127.0.0.1:1'] }, routes: [{ match: '/*' }] }, { folder })
  const command = `export LISTEN_FDS=two LISTEN_PID=$$; exec "${process.execPath}" "${MAIN}" run "${file}"`
  const child = spawn('sh', ['-c', command], { env: bareEnvironment(), stdio: ['ignore', 'ignore', 'pipe'] })
  let err = ''
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  assert.deepEqual([code, err], [1, 'spillway: LISTEN_FDS is a number of sockets, not "two"\n'])
  assert.ok(readFileSync(file).length > 0)
})
