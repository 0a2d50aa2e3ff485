/** One queue, by its name: send, receive and settle, look into it, mend it. What the calls do is said in docs/queue-api.md. */
import type { Api } from './api.ts'
import { type BatchHandle, followBatch } from './batch.ts'
import { followJob, type JobHandle, type JobUrls } from './job-handle.ts'
import type {
  CallOptions,
  ExtendResult,
  JobFilter,
  JobView,
  KeyView,
  NewBatch,
  NewJob,
  NotSent,
  QueueView,
  Received,
  ReceivedJob,
  ReceiveOptions,
  SendOptions,
  SendResult,
  SentJob,
  SettleResult,
  Settlement,
  TaskView,
} from './jobs.ts'
import { newKey } from './new-key.ts'
import { decodeBody, encodeBody, type WireBody } from './payload.ts'
import type { StreamOptions } from './send-stream.ts'
import { BATCH, type BatchLimits, Sender } from './sender.ts'
import { type Duration, durationMs } from './timing.ts'

export interface QueueParts {
  readonly http: Api
  readonly urls: JobUrls
  readonly batch?: Partial<BatchLimits>
}

const PAGE = 100

export class Queue<Payload = unknown, Result = unknown> {
  readonly name: string
  readonly #parts: QueueParts
  readonly #path: string
  readonly #sender: Sender<SentJob>

  constructor(name: string, parts: QueueParts) {
    this.name = name
    this.#parts = parts
    this.#path = `/queues/${encodeURIComponent(name)}`
    this.#sender = new Sender(parts.http, `${this.#path}/jobs`, { ...BATCH, ...parts.batch })
  }

  /** Resolves when the job is synced to disk. Rejects when it was not accepted. */
  async send(payload: Payload, options: SendOptions & CallOptions = {}): Promise<SentJob> {
    const { signal, ...send } = options
    return await this.#sender.one({ payload, ...send }, signal === undefined ? {} : { signal })
  }

  /** Any number, in order, in requests of at most 1,000. A result for each; `PartialSendError` when a request after the first fails. */
  async sendMany(jobs: readonly NewJob<Payload>[], options: CallOptions = {}): Promise<SendResult[]> {
    return await this.#sender.many(jobs, options)
  }

  /** All of them are taken together, or none, and followed as one. Rejects when they were not taken. */
  async batch(jobs: NewBatch<Payload>['jobs'], options: Omit<NewBatch<Payload>, 'jobs'> & CallOptions = {}): Promise<BatchHandle<Result>> {
    const { signal, idempotencyKey = newKey(), ...more } = options
    const encoded = jobs.map(({ payload, contentType, ...job }) => ({ ...encodeBody(payload, contentType), ...job }))
    const body = { jobs: encoded, idempotencyKey, ...more }
    const call = { method: 'POST', path: `${this.#path}/batches`, body, repeat: 'safe', signal } as const
    const { token } = await this.#parts.http.json<{ token: string }>(call)
    return followBatch<Result>(this.#parts.http, this.#parts.urls, token)
  }

  /** As many as the source has, with their results in order as they become durable. */
  sendStream(
    jobs: AsyncIterable<NewJob<Payload>> | Iterable<NewJob<Payload>>,
    options: StreamOptions = {},
  ): AsyncGenerator<SentJob | NotSent, void> {
    return this.#sender.stream(jobs, options)
  }

  /** Not repeated when its answer is lost: jobs handed out in it come back when their leases lapse. */
  async receive(options: ReceiveOptions<Result> = {}): Promise<Received<Payload>> {
    const { signal, wait = 0, settlements, ...rest } = options
    const body = { ...rest, wait, ...(settlements === undefined ? {} : { settlements: settlements.map(encodeSettlement) }) }
    const heldMs = durationMs(wait, 'wait')
    const call = { method: 'POST', path: `${this.#path}/receive`, body, repeat: 'refused', signal, heldMs } as const
    const { jobs, results = [] } = await this.#parts.http.json<{ jobs: readonly WireJob[]; results?: readonly SettleResult[] }>(call)
    return { jobs: jobs.map((wire) => decodeJob<Payload>(wire)), results }
  }

  /** Safe to repeat: what was settled before is `stale`. */
  async settle(settlements: readonly Settlement<Result>[], options: CallOptions = {}): Promise<readonly SettleResult[]> {
    const { results } = await this.#post<{ results: readonly SettleResult[] }>(
      'settle',
      { settlements: settlements.map(encodeSettlement) },
      options,
    )
    return results
  }

  async extend(receipts: readonly string[], lease: Duration, options: CallOptions = {}): Promise<readonly ExtendResult[]> {
    const { results } = await this.#post<{ results: readonly ExtendResult[] }>('extend', { receipts, lease }, options)
    return results
  }

  /** Rejects with status 410 when the lease is gone. */
  async progress(receipt: string, progress: unknown, options: CallOptions = {}): Promise<void> {
    await this.#post('progress', { receipt, progress }, options)
  }

  /** All that the filter meets, page by page as they are read. `include: 'request'` shows their requests, too. */
  async *browse(
    filter: JobFilter = {},
    options: CallOptions & { readonly order?: 'newest'; readonly pageSize?: number; readonly include?: 'request' } = {},
  ): AsyncGenerator<JobView, void> {
    const { signal, pageSize = PAGE, order, include } = options
    const query = filterQuery(filter)
    query.set('limit', String(pageSize))
    if (order !== undefined) query.set('order', order)
    if (include !== undefined) query.set('include', include)
    for (;;) {
      const path = `${this.#path}/jobs?${query.toString()}`
      const page = await this.#parts.http.json<{ jobs: readonly JobView[]; next?: string | null }>({
        method: 'GET',
        path,
        repeat: 'safe',
        signal,
      })
      yield* page.jobs
      if (page.next === undefined || page.next === null) return
      query.set('after', page.next)
    }
  }

  /** What is next in line, without taking it. */
  async peek(options: CallOptions & { readonly max?: number } = {}): Promise<readonly JobView[]> {
    const { max = 10, signal } = options
    const path = `${this.#path}/peek?max=${max}`
    return (await this.#parts.http.json<{ jobs: readonly JobView[] }>({ method: 'GET', path, repeat: 'safe', signal })).jobs
  }

  async stats(options: CallOptions = {}): Promise<QueueView> {
    return await this.#parts.http.json<QueueView>({ method: 'GET', path: this.#path, repeat: 'safe', ...options })
  }

  /** It goes on accepting and hands out nothing. */
  async pause(options: CallOptions = {}): Promise<void> {
    await this.#post('pause', undefined, options)
  }

  async resume(options: CallOptions = {}): Promise<void> {
    await this.#post('resume', undefined, options)
  }

  /** Dead letters run again, all that the filter meets, step by step. */
  async redrive(
    filter: JobFilter = {},
    options: CallOptions & { readonly perSecond?: number; readonly to?: string } = {},
  ): Promise<TaskView> {
    const { signal, ...rest } = options
    const body = { kind: 'redrive', filter: filterDocument(filter), ...rest }
    return await this.#parts.http.json<TaskView>({ method: 'POST', path: `${this.#path}/tasks`, body, repeat: 'refused', signal })
  }

  /** Cancels all that waits and forgets all that ended. */
  async purge(options: CallOptions = {}): Promise<TaskView | undefined> {
    return await this.#post<TaskView | undefined>('purge', { confirm: this.name }, options)
  }

  /** Keys that are held: by which job, and how many wait behind it. */
  async keys(options: CallOptions & { readonly blocked?: boolean } = {}): Promise<readonly KeyView[]> {
    const { blocked, signal } = options
    const path = `${this.#path}/keys${blocked === true ? '?blocked=true' : ''}`
    return (await this.#parts.http.json<{ keys: readonly KeyView[] }>({ method: 'GET', path, repeat: 'safe', signal })).keys
  }

  /** A key that a failed job blocks goes on with its next one. Not repeated when the answer is lost: that one may block it by then. */
  async release(key: string, options: CallOptions = {}): Promise<void> {
    await this.#parts.http.json({ method: 'POST', path: `${this.#path}/keys/release`, body: { key }, repeat: 'refused', ...options })
  }

  /** The job of a token that `send` gave, to its end. */
  follow(token: string): JobHandle<Result> {
    return followJob<Result>(this.#parts.http, this.#parts.urls.ofToken(token), token)
  }

  async #post<T = unknown>(what: string, body: unknown, options: CallOptions): Promise<T> {
    return await this.#parts.http.json<T>({ method: 'POST', path: `${this.#path}/${what}`, body, repeat: 'safe', ...options })
  }
}

type WireJob = Omit<ReceivedJob<unknown>, 'payload'> & WireBody

function decodeJob<Payload>(wire: WireJob): ReceivedJob<Payload> {
  const { payload: _, text: _text, base64: _base64, ...job } = wire
  return { ...job, payload: decodeBody(wire) as Payload }
}

export function encodeSettlement(settlement: Settlement): Record<string, unknown> {
  if (settlement.outcome !== 'succeed') return { ...settlement }
  const { receipt, outcome, result, contentType, status, headers } = settlement
  const body = encodeBody(result, contentType)
  const more = { ...body, ...(status === undefined ? {} : { status }), ...(headers === undefined ? {} : { headers }) }
  return { receipt, outcome, ...(Object.keys(more).length === 0 ? {} : { result: more }) }
}

function filterDocument(filter: JobFilter): Record<string, unknown> {
  const { since, until, ...rest } = filter
  return { ...rest, ...(since === undefined ? {} : { since: timeText(since) }), ...(until === undefined ? {} : { until: timeText(until) }) }
}

function filterQuery(filter: JobFilter): URLSearchParams {
  return new URLSearchParams(Object.entries(filterDocument(filter)).map(([name, value]): [string, string] => [name, String(value)]))
}

function timeText(at: Date | string): string {
  return typeof at === 'string' ? at : at.toISOString()
}
