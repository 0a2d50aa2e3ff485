/**
 * Redis Streams with a consumer group. Publishing is a pipeline of XADD; settling is XACK and XDEL of a whole batch in one pipeline, whose
 * replies come after the sync.
 */
import type { BrokerArm, BrokerClient, Consumer, ConsumerEvents } from './broker.ts'
import { bodyText, jobOf } from './job-body.ts'
import { connectRedis, executed, type Redis, redisMissing, redisVersion, startRedis } from './redis.ts'

const STREAM = 'jobs'
const GROUP = 'consumers'
const READ_COUNT = 250
const READ_BLOCK_MS = 200

/** [[stream, [[id, [field, value]], …]]], or null when the time was up. */
type ReadReply = [string, [string, [string, string]][]][] | null

class StreamConsumer implements Consumer {
  readonly #reader: Redis
  readonly #settler: Redis
  readonly #events: ConsumerEvents
  readonly #settling = new Set<Promise<void>>()
  readonly #ended: Promise<void>
  #stopping = false

  constructor(reader: Redis, settler: Redis, events: ConsumerEvents) {
    this.#reader = reader
    this.#settler = settler
    this.#events = events
    this.#ended = this.#run().catch((error: Error) => events.failed(error))
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const args = ['GROUP', GROUP, 'one', 'COUNT', READ_COUNT, 'BLOCK', READ_BLOCK_MS, 'STREAMS', STREAM, '>']
      const entries = ((await this.#reader.call('xreadgroup', ...args)) as ReadReply)?.[0]?.[1] ?? []
      if (entries.length === 0) continue
      this.#events.started(entries.map(([, [, body]]) => jobOf(body)))
      // The next read need not wait for the sync of these.
      const settling = this.#settle(entries.map(([id]) => id)).catch((error: Error) => this.#events.failed(error))
      this.#settling.add(settling)
      void settling.then(() => this.#settling.delete(settling))
    }
  }

  async #settle(ids: readonly string[]): Promise<void> {
    await executed(
      this.#settler
        .pipeline()
        .call('xack', STREAM, GROUP, ...ids)
        .call('xdel', STREAM, ...ids),
    )
    this.#events.settled(ids.length)
  }

  async stop(): Promise<void> {
    this.#stopping = true
    await this.#ended
    await Promise.all(this.#settling)
    this.#reader.disconnect()
  }
}

async function connect(address: string): Promise<BrokerClient> {
  const redis = await connectRedis(address)
  const makeGroup = async (): Promise<void> => {
    await redis.call('xgroup', 'CREATE', STREAM, GROUP, '0', 'MKSTREAM').catch((error: Error) => {
      if (!error.message.startsWith('BUSYGROUP')) throw error
    })
  }
  await makeGroup()
  return {
    batch: 100,
    publish: async (jobs) => {
      const pipeline = redis.pipeline()
      for (const job of jobs) pipeline.call('xadd', STREAM, '*', 'b', bodyText(job))
      await executed(pipeline)
    },
    consume: async (events) => new StreamConsumer(await connectRedis(address), redis, events),
    // What was read but not acknowledged is still in the stream: settling deletes it.
    depth: async () => Number(await redis.call('xlen', STREAM)),
    purge: async () => {
      await redis.call('del', STREAM)
      await makeGroup()
    },
    close: async () => void (await redis.quit()),
  }
}

export const redisStreams: BrokerArm = {
  clientPackage: 'ioredis',
  missing: redisMissing,
  start: startRedis,
  connect,
  version: redisVersion,
}
