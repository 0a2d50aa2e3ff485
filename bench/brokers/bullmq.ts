/** BullMQ on the same Redis settings: `addBulk`, one worker with high concurrency that fetches the next job with each completion; finished jobs go. */
import type { BrokerArm, BrokerClient, Consumer, ConsumerEvents } from './broker.ts'
import { importClient } from './broker.ts'
import { bodyText, jobOf } from './job-body.ts'
import { connectRedis, redisMissing, redisVersion, startRedis } from './redis.ts'

const QUEUE = 'jobs'
const CONCURRENCY = 200

interface JobData {
  readonly b: string
}

interface BullQueue {
  addBulk(jobs: readonly { readonly name: string; readonly data: JobData; readonly opts: object }[]): Promise<unknown>
  getJobCounts(): Promise<Readonly<Record<string, number>>>
  waitUntilReady(): Promise<unknown>
  close(): Promise<void>
}

interface BullWorker {
  on(event: 'completed', listener: () => void): void
  on(event: 'failed', listener: (job: unknown, error: Error) => void): void
  on(event: 'error', listener: (error: Error) => void): void
  waitUntilReady(): Promise<unknown>
  close(): Promise<void>
}

/** What is used of bullmq. */
interface Bull {
  readonly Queue: new (name: string, options: object) => BullQueue
  readonly Worker: new (name: string, processor: (job: { readonly data: JobData }) => Promise<void>, options: object) => BullWorker
}

async function connect(address: string): Promise<BrokerClient> {
  const bull = await importClient<Bull>('bullmq')
  const { hostname: host, port } = new URL(address)
  const connection = { host, port: Number(port), maxRetriesPerRequest: null }
  const queue = new bull.Queue(QUEUE, { connection })
  await queue.waitUntilReady()
  const opts = { removeOnComplete: true }
  return {
    batch: 100,
    publish: async (jobs) => {
      await queue.addBulk(jobs.map((job) => ({ name: 'job', data: { b: bodyText(job) }, opts })))
    },
    consume: (events) => startWorker(bull, connection, events),
    depth: async () => Object.values(await queue.getJobCounts()).reduce((sum, count) => sum + count, 0),
    purge: async () => {
      const redis = await connectRedis(address)
      await redis.call('flushall')
      await redis.quit()
    },
    close: () => queue.close(),
  }
}

async function startWorker(bull: Bull, connection: object, events: ConsumerEvents): Promise<Consumer> {
  const processor = async ({ data }: { readonly data: JobData }): Promise<void> => events.started([jobOf(data.b)])
  const worker = new bull.Worker(QUEUE, processor, { connection, concurrency: CONCURRENCY })
  worker.on('completed', () => events.settled(1))
  worker.on('failed', (_, error) => events.failed(error))
  worker.on('error', (error) => events.failed(error))
  await worker.waitUntilReady()
  return { stop: () => worker.close() }
}

export const bullmq: BrokerArm = { clientPackage: 'bullmq', missing: redisMissing, start: startRedis, connect, version: redisVersion }
