/**
 * A consumer of a queue, for Node: pulls jobs as it has room for them, runs a handler for each, settles what comes of it. At most `concurrency`
 * jobs are in its hands, settlements that are not confirmed counted, so its memory is bounded also while the gateway is away.
 */
import { apiUrlOf } from '../addresses.ts'
import { Api } from '../api.ts'
import { Queue } from '../queue.ts'
import { type Duration, durationMs, RETRY, type RetryPolicy } from '../timing.ts'
import { type ConsumerLimits, Consumer, type ErrorContext, type StopLimits, type Stopped } from './consumer.ts'
import type { Handler } from './running-job.ts'

export type { ReceivedJob } from '../jobs.ts'
export { SpillwayError } from '../errors.ts'
export type { Duration } from '../timing.ts'
export type { ErrorContext, StopLimits, Stopped } from './consumer.ts'
export { Fail, Release, RetryAfter, WorkerError } from './outcomes.ts'
export type { WorkerErrorCode } from './outcomes.ts'
export type { Handler, HandlerContext } from './running-job.ts'

export interface WorkerOptions<Payload, Result> {
  /** The gateway, as for `createClient`. */
  readonly url: string
  readonly token?: string
  readonly queue: string
  readonly handler: Handler<Payload, Result>
  /** Jobs at once. Default 16. */
  readonly concurrency?: number
  /** Of each job, extended for as long as its handler runs. Default 60s. */
  readonly lease?: Duration
  /** How long the gateway holds a receive when there is nothing; `stop` waits for it. Default 5s. */
  readonly wait?: Duration
  /** Of one handler. Default 15m. */
  readonly timeout?: Duration
  /** An event loop that is blocked for longer gets no leases extended: a worker that hangs must not hold its jobs for ever. Default 2m. */
  readonly stuckAfter?: Duration
  /** Who we are, for people who look into the queue. */
  readonly name?: string
  /** After failures of the connection. Default: 200 ms, doubled up to 10 s. */
  readonly backoff?: Pick<RetryPolicy, 'baseMs' | 'maxMs'>
  /** Of one request. Default 30s. */
  readonly requestTimeout?: Duration
  /** Default: one line on standard error. */
  readonly onError?: (error: unknown, context: ErrorContext) => void
  /** For everything but the heartbeat, whose thread has its own. */
  readonly fetch?: typeof fetch
}

export interface Worker {
  /** Handlers under way. */
  readonly running: number
  /**
   * No more jobs. Handlers may end within `timeoutMs` (default 30,000); what is left is released without counting an attempt. A gateway that
   * is away has another `settleTimeoutMs` (default 5,000) to come back and hear of it.
   */
  stop(options?: Partial<StopLimits>): Promise<Stopped>
  [Symbol.asyncDispose](): Promise<void>
}

const STOP: StopLimits = { timeoutMs: 30_000, settleTimeoutMs: 5000 }
const BACKOFF = { baseMs: 200, maxMs: 10_000 }

/** Begins at once. */
export function createWorker<Payload = unknown, Result = unknown>(options: WorkerOptions<Payload, Result>): Worker {
  const { token, fetch: ownFetch = fetch, name, handler, onError = printError } = options
  const limits = limitsOf(options)
  const http = (retry: RetryPolicy): Api =>
    new Api({ apiUrl: apiUrlOf(options.url), token }, { fetch: ownFetch, retry, timeoutMs: limits.requestTimeoutMs })
  const urls = { ofToken: () => '', ofBatch: () => '' }
  const consumer = new Consumer<Payload, Result>({
    // The consumer repeats by itself: it knows what has changed in the meantime.
    queue: new Queue(options.queue, { http: http({ ...limits.backoff, attempts: 1 }), urls }),
    handlersQueue: new Queue(options.queue, { http: http(RETRY), urls }),
    apiUrl: apiUrlOf(options.url),
    token,
    name,
    handler,
    limits,
    onError,
  })
  return {
    get running() {
      return consumer.running
    },
    stop: async (limits) => await consumer.stop({ ...STOP, ...limits }),
    async [Symbol.asyncDispose]() {
      await consumer.stop(STOP)
    },
  }
}

function limitsOf<Payload, Result>(options: WorkerOptions<Payload, Result>): ConsumerLimits {
  const {
    concurrency = 16,
    lease = '60s',
    wait = '5s',
    timeout = '15m',
    stuckAfter = '2m',
    requestTimeout = '30s',
    backoff = BACKOFF,
  } = options
  if (!Number.isInteger(concurrency) || concurrency < 1) throw new TypeError(`concurrency: ${concurrency} is not a whole number from 1`)
  return {
    concurrency,
    leaseMs: atLeastOne(lease, 'lease'),
    waitMs: durationMs(wait, 'wait'),
    timeoutMs: atLeastOne(timeout, 'timeout'),
    stuckAfterMs: atLeastOne(stuckAfter, 'stuckAfter'),
    requestTimeoutMs: atLeastOne(requestTimeout, 'requestTimeout'),
    backoff,
  }
}

function atLeastOne(duration: Duration, what: string): number {
  const ms = durationMs(duration, what)
  if (ms < 1) throw new TypeError(`${what}: must be longer than 0`)
  return ms
}

function printError(error: unknown, { job }: ErrorContext): void {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  process.stderr.write(`spillway worker: ${job === undefined ? '' : `job ${job.id}: `}${text}\n`)
}
