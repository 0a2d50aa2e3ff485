/**
 * A running gateway with two servers, and the eight ways to break it that the runbook is tried on: a real process, real sockets, real files,
 * all in a folder of its own. Each way can also be healed as far as the cause lies outside of the gateway; the rest is for who is on call.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ConfigFile } from '../../src/config/schema.ts'
import { bareEnvironment } from './child-environment.ts'
import { type ChildGateway, startGateway, writeConfig } from './child-gateway.ts'
import { type Answer, ask } from './http-client.ts'
import { type Received, startTestServer, type TestServer } from './test-server.ts'
import { until } from './until.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts')
const TMPFS = 0x01021994

export interface Shelled {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** What the servers do: set by a way to break them. */
interface Behaviour {
  workMs: number
  /** Status for a request with this word in its body. */
  readonly refuse: Map<string, number>
}

export interface BrokenGateway extends AsyncDisposable {
  readonly folder: string
  readonly gateway: ChildGateway
  readonly servers: readonly TestServer[]
  readonly behaviour: Behaviour
  /** Of the jobs that were sent before it broke. */
  readonly jobs: readonly string[]
  /** Types a line into a shell in the gateway's folder, in which `spillway` is ours. */
  type(line: string): Promise<Shelled>
  /** The cause outside of the gateway goes away. */
  heal(): Promise<void>
  send(body: string, key?: string): Promise<Answer>
  /** Another file in place of the one it was started with. */
  write(change: Partial<ConfigFile>): void
}

type Built = Omit<BrokenGateway, 'heal' | 'jobs' | typeof Symbol.asyncDispose>

interface Broken {
  readonly jobs?: readonly string[]
  readonly heal: () => Promise<void> | void
}

export interface Way {
  /** What is broken, for people. */
  readonly says: string
  /** What `heal` does. */
  readonly heals: string
  /** Of the runbook. */
  readonly page: string
  /** Why it cannot be done on this machine. */
  readonly problem?: () => string | undefined
  readonly config?: Partial<ConfigFile>
  /** The store's folder is a file system of this size of its own, or lies in memory, so that no other disk disturbs. */
  readonly store?: { readonly sizeMiB: number } | 'memory'
  readonly breakIt: (built: Built) => Promise<Broken>
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

function idOf(answer: Answer): string {
  return String(answer.json()['id'])
}

async function answerFor(behaviour: Behaviour, { body }: Received, response: ServerResponse): Promise<void> {
  const text = body.toString()
  const status = [...behaviour.refuse].find(([word]) => text.includes(word))?.[1]
  if (behaviour.workMs > 0) await new Promise((resolve) => setTimeout(resolve, behaviour.workMs))
  response.statusCode = status ?? 200
  response.end(status === undefined ? 'done' : 'cannot be done')
}

export const WAYS: Readonly<Record<string, Way>> = {
  'dead-servers': {
    says: 'both servers are dead, and a job waits for them',
    heals: 'the servers come back',
    page: 'pool-down',
    async breakIt({ servers, send }) {
      await Promise.all(servers.map((server) => server.kill()))
      const job = idOf(await send('waits'))
      return {
        jobs: [job],
        heal: async () => void (await Promise.all(servers.map((server) => server.revive()))),
      }
    },
  },
  'poison-job': {
    says: 'one job makes every server fail, until it is out of attempts',
    heals: 'the servers are mended',
    page: 'jobs-die',
    async breakIt({ send, behaviour }) {
      behaviour.refuse.set('poison', 500)
      const job = idOf(await send('poison'))
      await send('harmless')
      return { jobs: [job], heal: () => behaviour.refuse.clear() }
    },
  },
  'blocked-key': {
    says: 'a job of the customer acme was refused for good, and the next ones of acme wait behind it',
    heals: 'nothing, the cause is in the queue',
    page: 'keys-blocked',
    config: { queues: { work: { attempts: 2, onFailure: 'block' } } },
    async breakIt({ send, behaviour }) {
      behaviour.refuse.set('refused', 422)
      const jobs = [idOf(await send('refused', 'acme')), idOf(await send('next', 'acme'))]
      await send('of another customer', 'other')
      return { jobs, heal: () => undefined }
    },
  },
  'full-disk': {
    says: 'something else fills the disk of the store',
    heals: 'room is made on the disk',
    page: 'store-refuses',
    problem: () => (canMount() ? undefined : 'a file system of its own cannot be mounted here'),
    store: { sizeMiB: 64 },
    config: { store: { path: './data/store', diskFloor: '4MiB' } },
    async breakIt({ folder, send }) {
      const ballast = join(folder, 'data', 'ballast')
      const { bavail, bsize } = statfsSync(join(folder, 'data'))
      writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - 3 * 1024 * 1024)))
      await until('a job is refused', async () => (await send('too much')).status === 503)
      return { heal: () => rmSync(ballast) }
    },
  },
  'slow-disk': {
    says: 'every sync of the store takes 0.7 s',
    heals: 'the disk is as before',
    page: 'syncs-slow',
    problem: () => (canTrace() ? undefined : 'strace is not here, or may not trace'),
    store: 'memory',
    async breakIt({ gateway, send }) {
      const tracer = spawn('strace', ['-f', '-p', String(gateway.pid), ...SLOW_SYNCS], { stdio: ['ignore', 'ignore', 'pipe'] })
      const detached = new Promise((resolve) => tracer.on('exit', resolve))
      let said = ''
      tracer.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
      await until('the tracer has the process', () => said.includes('attached'))
      await send('slowly')
      return {
        heal: async () => {
          tracer.kill('SIGINT')
          await detached
        },
      }
    },
  },
  'stuck-consumer': {
    says: 'a pull consumer took a job, extends its lease and does not finish',
    heals: 'the consumer is stopped',
    page: 'consumer-stuck',
    config: { queues: { work: {}, pulled: { pull: true, timeout: '1s' } } },
    async breakIt({ gateway }) {
      const queue = `${gateway.adminUrl}/api/queues/pulled`
      const call = (path: string, document: unknown): Promise<Answer> =>
        ask(`${queue}/${path}`, { method: 'POST', body: JSON.stringify(document), headers: { 'content-type': 'application/json' } })
      const job = String(((await call('jobs', { text: 'endless' })).json()['id'] as string | undefined) ?? '')
      const [taken] = (await call('receive', { consumer: 'bob', lease: '30s' })).json()['jobs'] as readonly { readonly receipt: string }[]
      const beat = setInterval(() => {
        call('extend', { receipts: [taken?.receipt], lease: '30s' }).catch(() => undefined)
      }, 500)
      beat.unref()
      return { jobs: [job], heal: () => clearInterval(beat) }
    },
  },
  'growing-backlog': {
    says: 'jobs come faster than one at a time for each server works them off',
    heals: 'nothing, the gateway is too slow for them',
    page: 'backlog-grows',
    config: { queues: { work: { concurrency: 1 } } },
    async breakIt({ send, behaviour }) {
      behaviour.workMs = 600
      const jobs: string[] = []
      while (jobs.length < 1500) jobs.push(...(await Promise.all(Array.from({ length: 50 }, () => send('one of many')))).map(idOf))
      return { jobs, heal: () => undefined }
    },
  },
  'bad-reload': {
    says: 'the configuration was changed, with a typing error, and read again',
    heals: 'nothing, the file is yours',
    page: 'reload-refused',
    async breakIt({ folder, gateway }) {
      writeFileSync(join(folder, 'spillway.yaml'), 'pools: { api: [http://127.0.0.1:1] }\nrutes: [{ match: /new }]\n')
      gateway.signal('SIGHUP')
      await until('it was read', () => gateway.of('config-refused').length > 0)
      return { heal: () => undefined }
    },
  },
}

/** What makes syncs slow, for `strace`. */
export const SLOW_SYNCS: readonly string[] = [
  '-e',
  'trace=fsync,fdatasync',
  '-e',
  'inject=fsync,fdatasync:delay_exit=700000',
  '-o',
  '/dev/null',
]

function canTrace(): boolean {
  const probe = spawnSync('strace', ['-f', ...SLOW_SYNCS, 'true'])
  return probe.error === undefined && probe.status === 0
}

function canMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-mount-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder]).status === 0
  if (mounted) spawnSync('umount', [folder])
  rmSync(folder, { recursive: true })
  return mounted
}

/** The rig with nothing broken yet, and what takes it down. */
async function build(way: Way): Promise<{ readonly built: Built; readonly takeDown: () => Promise<void> }> {
  const base = way.store === 'memory' && isTmpfs('/dev/shm') ? '/dev/shm' : tmpdir()
  const folder = mkdtempSync(join(base, 'spillway-broken-'))
  const mounted = typeof way.store === 'object' ? join(folder, 'data') : undefined
  if (typeof way.store === 'object' && mounted !== undefined) {
    mkdirSync(mounted)
    spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${way.store.sizeMiB}m`, 'tmpfs', mounted])
  }
  const behaviour: Behaviour = { workMs: 0, refuse: new Map() }
  const handle: TestServer['handle'] = (received, response) => answerFor(behaviour, received, response)
  const servers = [await startTestServer(handle), await startTestServer(handle)]
  // Commands find the gateway by its file alone, as they do on a real machine.
  const admin = { address: `127.0.0.1:${await freePort()}` }
  const health = { path: '/healthz', interval: '100ms', fall: 1, rise: 1 }
  const config = (change: Partial<ConfigFile>): ConfigFile => ({
    admin,
    pools: { api: { servers: servers.map(({ port }) => `http://127.0.0.1:${port}`), health, slowStart: '0s' } },
    queues: { work: { attempts: 2, backoff: { base: '10ms', max: '20ms' } } },
    routes: [{ match: 'POST /work', mode: 'queue', queue: 'work', key: 'header:X-Key' }],
    drainTimeout: '2s',
    ...way.config,
    ...change,
  })
  const gateway = await startGateway(config({}), { folder })
  const built: Built = {
    folder,
    gateway,
    servers,
    behaviour,
    type: (line) => typeIn(folder, line),
    send: (body, key) => ask(`${gateway.url}/work`, { method: 'POST', body, headers: key === undefined ? {} : { 'X-Key': key } }),
    write: (change) => void writeConfig(config(change), { folder }),
  }
  const takeDown = async (): Promise<void> => {
    await gateway.kill()
    await Promise.all(servers.map((server) => server.kill()))
    if (mounted !== undefined) spawnSync('umount', [mounted])
    rmSync(folder, { recursive: true })
  }
  return { built, takeDown }
}

function isTmpfs(path: string): boolean {
  try {
    return statfsSync(path).type === TMPFS
  } catch {
    return false
  }
}

function typeIn(folder: string, line: string): Promise<Shelled> {
  const script = `spillway() { "$NODE" "$MAIN" "$@"; }\n${line}\n`
  const child = spawn('sh', ['-c', script], {
    cwd: folder,
    env: { ...bareEnvironment(), NODE: process.execPath, MAIN },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  return new Promise((resolve) => child.on('close', (code) => resolve({ code: code ?? -1, out, err })))
}

/** Starts a gateway that is well, waits until it is, and breaks it. */
export async function startBroken(way: Way): Promise<BrokenGateway> {
  const { built, takeDown } = await build(way)
  try {
    let seen = ''
    // Each command is a process: not before it can say so.
    await until('its servers are up', () => built.gateway.of('server-up').length >= built.servers.length)
    await until(
      () => `the gateway is well; it says: ${seen}`,
      async () => {
        const { out, err } = await built.type('spillway status')
        seen = out + err
        return (
          seen.split('\n').filter((line) => /^ {2}\S+ +up /.test(line)).length === built.servers.length && !seen.includes('needs a look')
        )
      },
    )
    const { jobs = [], heal } = await way.breakIt(built)
    let healed = false
    const healOnce = async (): Promise<void> => {
      if (!healed) await heal()
      healed = true
    }
    return {
      ...built,
      jobs,
      heal: healOnce,
      async [Symbol.asyncDispose]() {
        await healOnce()
        await takeDown()
      },
    }
  } catch (error) {
    await takeDown()
    throw error
  }
}
