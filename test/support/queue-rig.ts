/**
 * A gateway with queues for pull consumers, a client of its queue API, and between the two a network in the hands of the test. Where it is a
 * process of its own, it can be killed and started again: the client and its workers keep their address.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Client, type ClientOptions, createClient, type JobView } from '../../src/client/client.ts'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ChildGateway, startGateway } from './child-gateway.ts'
import { startConfigRig } from './config-rig.ts'
import { type FaultyLine, startFaultyLine } from './faulty-line.ts'
import { until } from './until.ts'

export const TOKEN = 'test-token-of-all-rights'

export interface QueueRig extends AsyncDisposable {
  readonly client: Client
  readonly line: FaultyLine
  readonly url: string
  readonly token: string
  /** The job with its request, result and history. */
  read(id: string): Promise<JobView>
  /** Waits until so many of the queue's jobs have this status. */
  untilJobs(queue: string, status: JobView['status'], count: number, limitMs?: number): Promise<readonly JobView[]>
}

export interface QueueProcessRig extends QueueRig {
  readonly gateway: ChildGateway
  kill(): Promise<void>
  restart(): Promise<void>
}

export interface QueueRigOptions {
  readonly queues?: ConfigFile['queues']
  readonly config?: Partial<ConfigFile>
  readonly client?: Partial<ClientOptions>
}

const BACKOFF = { base: '20ms', max: '100ms' }
/** Short pauses, so that what is repeated is repeated soon. */
export const RETRY = { baseMs: 10, maxMs: 2000 }

/** With the gateway in this process: it takes a tenth of the time to start. */
export async function startQueueRig(options: QueueRigOptions = {}): Promise<QueueRig> {
  const gateway = await startConfigRig(configOf(options))
  const line = await startFaultyLine(gateway.url)
  return {
    ...clientOf(line, options),
    async [Symbol.asyncDispose]() {
      await line[Symbol.asyncDispose]()
      await gateway[Symbol.asyncDispose]()
    },
  }
}

export async function startQueueProcess(options: QueueRigOptions = {}): Promise<QueueProcessRig> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-queue-'))
  const config = configOf(options)
  let gateway = await startGateway(config, { folder })
  const line = await startFaultyLine(gateway.url)
  return {
    ...clientOf(line, options),
    get gateway() {
      return gateway
    },
    kill: () => gateway.kill(),
    async restart() {
      await gateway.kill()
      gateway = await startGateway(config, { folder })
      line.target = gateway.url
    },
    async [Symbol.asyncDispose]() {
      await line[Symbol.asyncDispose]()
      await gateway.kill()
      rmSync(folder, { recursive: true })
    },
  }
}

function configOf({ queues, config }: QueueRigOptions): ConfigFile {
  return {
    queues: { mail: { attempts: 5, backoff: BACKOFF }, ...queues },
    api: { keys: [{ name: 'test', token: TOKEN, queues: ['*'], can: ['send', 'receive', 'browse', 'manage'] }] },
    ...config,
  } as ConfigFile
}

function clientOf(line: FaultyLine, options: QueueRigOptions): Omit<QueueRig, typeof Symbol.asyncDispose> {
  const client = createClient({ url: line.url, token: TOKEN, retry: RETRY, ...options.client })
  const jobsOf = async (queue: string, status: JobView['status']): Promise<readonly JobView[]> => {
    const jobs: JobView[] = []
    for await (const job of client.queue(queue).browse({ status })) jobs.push(job)
    return jobs
  }
  return {
    client,
    line,
    url: line.url,
    token: TOKEN,
    read: (id) => client.job(id).read({ include: ['request', 'result', 'history'] }),
    async untilJobs(queue, status, count, limitMs) {
      let jobs: readonly JobView[] = []
      await until(
        () => `${count} jobs of ${queue} are ${status}, not ${jobs.length}`,
        async () => (jobs = await jobsOf(queue, status)).length === count,
        limitMs,
      )
      return jobs
    },
  }
}
