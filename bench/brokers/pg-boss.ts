/**
 * pg-boss on PostgreSQL with its default durability: every commit is synced. Batches in, batches out, and the next fetch at once. Its own
 * worker waits at least half a second after an empty fetch; here it is 5 ms, in favour of this arm.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, globSync, mkdirSync, statSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { type Cores, findProgram, freePort, ROOT, startPinned, untilReady } from '../machine.ts'
import type { BrokerArm, BrokerClient, Consumer, ConsumerEvents, RunningBroker } from './broker.ts'
import { firstFile, importClient } from './broker.ts'
import { bodyText, jobOf } from './job-body.ts'

const QUEUE = 'jobs'
const FETCHERS = 2
const FETCH_COUNT = 1000
const EMPTY_WAIT_MS = 5

interface JobData {
  readonly b: string
}

interface Boss {
  on(event: 'error', listener: (error: Error) => void): void
  start(): Promise<unknown>
  stop(options: object): Promise<void>
  createQueue(name: string, options: object): Promise<void>
  insert(name: string, jobs: readonly { readonly data: JobData }[]): Promise<unknown>
  fetch(name: string, options: object): Promise<readonly { readonly id: string; readonly data: JobData }[]>
  complete(name: string, ids: readonly string[]): Promise<unknown>
  deleteAllJobs(name: string): Promise<void>
  getDb(): { executeSql(text: string, values: readonly unknown[]): Promise<{ readonly rows: readonly { readonly count: string }[] }> }
}

/** Debian keeps the server's programs off the PATH. */
function program(name: string): string | undefined {
  return firstFile(...globSync(`/usr/lib/postgresql/*/bin/${name}`).sort().reverse(), findProgram(name))
}

/** PostgreSQL refuses to run as root: then it is the user that its package made. */
function serverUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const id = (which: string): number => Number(execFileSync('id', [which, 'postgres'], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

async function start(cores: Cores, folder: string): Promise<RunningBroker> {
  const user = serverUser()
  const data = path.join(folder, 'data')
  mkdirSync(data)
  if (user !== undefined) {
    chownSync(data, user.uid, user.gid)
    // It has to get through the folders above its own.
    for (const above of [folder, path.dirname(folder)]) chmodSync(above, 0o711)
  }
  execFileSync(program('initdb') as string, ['-D', data, '-U', 'bench', '-A', 'trust', '-E', 'UTF8', '--locale=C'], {
    stdio: 'pipe',
    ...user,
  })
  const port = await freePort()
  const settings = {
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: '',
    // As one sets up a server that has a queue to carry; what decides about durability is left alone.
    shared_buffers: '512MB',
    max_wal_size: '4GB',
  }
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const started = startPinned(cores, program('postgres') as string, ['-D', data, ...args], { user })
  const isReady = (): boolean => {
    try {
      execFileSync(program('pg_isready') as string, ['-q', '-h', '127.0.0.1', '-p', String(port)])
      return true
    } catch {
      return false
    }
  }
  await untilReady('PostgreSQL', started, isReady)
  // SIGINT ends it without waiting for sessions.
  return { started, address: `postgres://bench@127.0.0.1:${port}/postgres`, stop: () => started.stop('SIGINT') }
}

function startFetchers(boss: Boss, events: ConsumerEvents): Consumer {
  let stopping = false
  const fetcher = async (): Promise<void> => {
    while (!stopping) {
      const jobs = await boss.fetch(QUEUE, { batchSize: FETCH_COUNT })
      if (jobs.length === 0) {
        await new Promise((resolve) => setTimeout(resolve, EMPTY_WAIT_MS))
        continue
      }
      events.started(jobs.map(({ data }) => jobOf(data.b)))
      await boss.complete(
        QUEUE,
        jobs.map(({ id }) => id),
      )
      events.settled(jobs.length)
    }
  }
  const fetchers = Array.from({ length: FETCHERS }, () => fetcher().catch((error: Error) => events.failed(error)))
  return {
    stop: async () => {
      stopping = true
      await Promise.all(fetchers)
    },
  }
}

async function connect(address: string): Promise<BrokerClient> {
  const { PgBoss } = await importClient<{ PgBoss: new (options: object) => Boss }>('pg-boss')
  // Without its supervision, which counts and cleans in the background.
  const boss = new PgBoss({ connectionString: address, max: 20, supervise: false, schedule: false })
  boss.on('error', () => undefined)
  await boss.start()
  await boss.createQueue(QUEUE, { partition: true })
  return {
    batch: 250,
    publish: async (jobs) => {
      await boss.insert(
        QUEUE,
        jobs.map((job) => ({ data: { b: bodyText(job) } })),
      )
    },
    consume: async (events) => startFetchers(boss, events),
    depth: async () => {
      const text = `SELECT count(*) FROM pgboss.job WHERE name = $1 AND state < 'completed'`
      return Number((await boss.getDb().executeSql(text, [QUEUE])).rows[0]?.count)
    },
    purge: () => boss.deleteAllJobs(QUEUE),
    close: () => boss.stop({ graceful: false }),
  }
}

/** A folder on the way to the repository that nobody but its owner may pass. */
function privateFolder(): string | undefined {
  for (let folder = ROOT; folder !== path.dirname(folder); folder = path.dirname(folder)) {
    if ((statSync(folder).mode & 0o001) === 0) return folder
  }
  return undefined
}

function missing(): string | undefined {
  if (program('initdb') === undefined) return 'PostgreSQL is not installed (Debian package postgresql)'
  const shut = process.getuid?.() === 0 ? privateFolder() : undefined
  return shut && `PostgreSQL does not run as root, and its user cannot pass ${shut}; run the benchmark as another user`
}

function version(): string | undefined {
  const postgres = program('postgres')
  const found = postgres && /\) ([\d.]+)/.exec(execFileSync(postgres, ['--version'], { encoding: 'utf8' }))
  return found ? `PostgreSQL ${found[1]}` : undefined
}

export const pgBoss: BrokerArm = { clientPackage: 'pg-boss', missing, start, connect, version }
