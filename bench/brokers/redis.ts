/** Redis as both of its arms run it: every write is in the synced append-only file before its reply leaves. */
import { execFileSync } from 'node:child_process'
import { type Cores, findProgram, freePort, startPinned, untilListening } from '../machine.ts'
import { importClient, type RunningBroker } from './broker.ts'

export interface RedisPipeline {
  call(command: string, ...args: readonly (string | number)[]): RedisPipeline
  exec(): Promise<[Error | null, unknown][] | null>
}

/** What is used of ioredis. */
export interface Redis {
  call(command: string, ...args: readonly (string | number)[]): Promise<unknown>
  pipeline(): RedisPipeline
  quit(): Promise<unknown>
  disconnect(): void
}

export async function connectRedis(address: string): Promise<Redis> {
  const { Redis: Client } = await importClient<{ Redis: new (url: string, options: object) => Redis }>('ioredis')
  return new Client(address, { maxRetriesPerRequest: null, enableReadyCheck: false })
}

/** Throws the first error among the replies. */
export async function executed(pipeline: RedisPipeline): Promise<unknown[]> {
  const replies = (await pipeline.exec()) ?? []
  return replies.map(([error, value]) => {
    if (error !== null) throw error
    return value
  })
}

export async function startRedis(cores: Cores, folder: string): Promise<RunningBroker> {
  const port = await freePort()
  const settings = {
    bind: '127.0.0.1',
    port,
    dir: folder,
    appendonly: 'yes',
    appendfsync: 'always',
    // No snapshots beside the append-only file; rewriting that file is left as it is by default.
    save: '',
    'maxmemory-policy': 'noeviction',
  }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)])
  const started = startPinned(cores, findProgram('redis-server') as string, args)
  await untilListening(port, started)
  return { started, address: `redis://127.0.0.1:${port}`, stop: () => started.stop() }
}

export function redisMissing(): string | undefined {
  return findProgram('redis-server') === undefined ? 'redis-server is not installed (Debian package redis-server)' : undefined
}

export function redisVersion(): string | undefined {
  const program = findProgram('redis-server')
  const found = program && /v=(\S+)/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))
  return found ? `Redis ${found[1]}` : undefined
}
