/**
 * Works off the queue of webhooks: leases them, sends each to where it is for, and settles it by what came back. So they are durable, retried,
 * ordered by key and dead-lettered as every job; what is said here is only what a webhook is sent with and what an answer means. Leases end with
 * this process, so that after a kill its webhooks go out again at once.
 */
import { allBuckets } from '../core/jobs/buckets.ts'
import type { ErrorCode } from '../core/errors.ts'
import { expandUrl, hasParameters, matchesUrl } from '../core/webhooks/urls.ts'
import { decideDelivery, type DeliveryEnd, type DeliveryVerdict } from '../core/webhooks/verdict.ts'
import { settleDurably } from '../jobs/attempt.ts'
import type { Queues } from '../jobs/queues.ts'
import { isMapping } from '../lib/mapping.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { Bus } from '../ports/bus.ts'
import type { Clock, Random, Timer } from '../ports/clock.ts'
import type { JobError, Lease, Ending, StoredJob } from '../ports/job-store.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { Endpoint, Endpoints } from './endpoints.ts'
import { CALLBACK, type MakerSettings, WEBHOOK_ROUTE } from './maker.ts'
import type { Sender, SendEnd, Sending } from './sender.ts'
import { signaturesOf } from './signature.ts'

/** What stands for a server in the job's record. */
const CONSUMER = 'webhooks'
/** A lease outlives its attempt by this: time for a slow store to take the settlement. */
const LEASE_SLACK_MS: Millis = 15_000
const LEASE_BATCH_MAX = 32
const LEASE_BYTES_MAX: Bytes = 4 * 1024 * 1024
/** Also without a hint. */
const LOOK_EVERY_MS: Millis = 20_000
const LEASE_RETRY_MS: Millis = 1000
const USER_AGENT = 'Spillway-Webhooks'
const TEST_ID = 'msg_test_'

export interface DelivererParts {
  readonly queues: Queues
  readonly endpoints: Endpoints
  readonly bus: Bus
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
  /** What holds now; undefined: there are no webhooks. */
  readonly settings: () => (MakerSettings & { readonly sender: Sender }) | undefined
}

interface Target {
  /** In metrics and events. */
  readonly name: string
  /** As it was when this was sent. Undefined for callbacks. */
  readonly endpoint?: Endpoint
  readonly url: URL
  readonly secrets: readonly string[]
  readonly headers: Readonly<Record<string, string>>
  readonly timeoutMs: Millis
}

interface Delivery {
  readonly lease: Lease
  readonly done: Promise<void>
  abort(code: ErrorCode, detail: string): void
  /** Its lease is gone: nothing is settled. */
  discard(): void
}

export class Deliverer {
  readonly #parts: DelivererParts
  readonly #buckets = allBuckets()
  /** By key; by id for those without one: of neither there are ever two on their way. */
  readonly #running = new Map<string, Delivery>()
  #timer: Timer | undefined
  #unsubscribe: (() => void) | undefined
  #leasing = false
  #again = false
  #stopped = true

  constructor(parts: DelivererParts) {
    this.#parts = parts
  }

  get inFlight(): number {
    return this.#running.size
  }

  start(): void {
    this.#stopped = false
    this.#unsubscribe = this.#parts.bus.subscribe((event) => {
      const name = this.#parts.settings()?.queue.name
      if (event.kind === 'ready') return event.queue === name ? this.wake() : undefined
      if (event.job.queue === name && event.job.status !== 'running') this.#left(event.job)
    })
    this.wake()
  }

  wake(): void {
    this.#again = true
    if (this.#stopped || this.#leasing) return
    this.#timer?.cancel()
    this.#leasing = true
    void this.#lease().then((nextMs) => {
      this.#leasing = false
      if (this.#stopped) return
      // Somebody may have woken it when it had just looked for the last time.
      if (this.#again && nextMs === LOOK_EVERY_MS) this.wake()
      else this.#timer = this.#parts.clock.after(nextMs, () => this.wake())
    })
  }

  /** Begins nothing more; what is on its way may arrive, for so long; the rest is handed back. */
  async drain(timeoutMs: Millis): Promise<void> {
    this.#stopped = true
    this.#unsubscribe?.()
    this.#timer?.cancel()
    const running = [...this.#running.values()]
    if (running.length === 0) return
    const timer = this.#parts.clock.after(timeoutMs, () => {
      for (const delivery of running) delivery.abort('shutting_down', 'The gateway stops.')
    })
    await Promise.all(running.map(({ done }) => done))
    timer.cancel()
  }

  /** Resolves with the time until it is worth another look. */
  async #lease(): Promise<Millis> {
    try {
      while (this.#again && !this.#stopped) {
        // It may be told of what the store is about to be asked to take.
        await new Promise<void>((resolve) => setImmediate(resolve))
        this.#again = false
        const settings = this.#parts.settings()
        if (settings === undefined) return LOOK_EVERY_MS
        const room = settings.config.concurrency - this.#running.size
        // Who ends wakes this.
        if (room <= 0) return LOOK_EVERY_MS
        const max = Math.min(room, LEASE_BATCH_MAX)
        const leases = await this.#parts.queues.lease({
          ...{ queue: settings.queue.name, server: CONSUMER, buckets: this.#buckets, max, stealUnkeyed: false },
          ...{ leaseMs: this.#leaseMs(settings), bytesMax: LEASE_BYTES_MAX },
        })
        if (this.#stopped) this.#parts.queues.handBack(leases)
        else for (const lease of leases) this.#begin(lease)
        if (leases.length === max) this.#again = true
      }
      return LOOK_EVERY_MS
    } catch {
      return LEASE_RETRY_MS
    }
  }

  #leaseMs({ config }: MakerSettings): Millis {
    const timeouts = this.#parts.endpoints.all().map((endpoint) => endpoint.config.timeoutMs)
    return Math.max(config.callbacks?.timeoutMs ?? 0, ...timeouts) + LEASE_SLACK_MS
  }

  /** It was cancelled, or its lease lapsed. */
  #left(job: StoredJob): void {
    const delivery = this.#running.get(slotOf(job))
    if (delivery?.lease.ref.id === job.id) delivery.discard()
  }

  #begin(lease: Lease): void {
    const slot = slotOf(lease.job)
    this.#running.get(slot)?.discard()
    let sending: Sending | undefined
    let discarded = false
    const done = this.#deliver(lease, (begun) => {
      sending = begun
      return () => discarded
    })
      .catch((error: unknown) => this.#failed(lease, error))
      .finally(() => {
        if (this.#running.get(slot) === delivery) this.#running.delete(slot)
        this.wake()
      })
    const delivery: Delivery = {
      lease,
      done,
      abort: (code, detail) => sending?.abort(code, detail),
      discard: () => {
        discarded = true
        sending?.abort('job_cancelled', 'The lease was gone while it was on its way.')
      },
    }
    this.#running.set(slot, delivery)
  }

  /** A bug of ours: the lease will lapse, and that counts as an attempt. */
  #failed({ job }: Lease, error: unknown): void {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
    this.#parts.telemetry.event({ type: 'warning', message: `webhook ${job.id} was not sent: ${message}` })
  }

  async #deliver(lease: Lease, begun: (sending: Sending) => () => boolean): Promise<void> {
    const settings = this.#parts.settings()
    if (settings === undefined) return this.#parts.queues.handBack([lease])
    const target = this.#targetOf(lease, settings)
    if ('code' in target) return this.#settle(settings, { kind: 'fail', lease: lease.ref, error: target, deadLetter: true })
    const { clock, random } = this.#parts
    const beganAt = clock.monotonic()
    const sending = settings.sender.send({ ...target, headers: this.#headersFor(lease, target), body: lease.request.body })
    const isDiscarded = begun(sending)
    const end = await sending.end
    if (isDiscarded()) return
    const retriesMs = settings.config.retriesMs
    const verdict = decideDelivery(deliveryEnd(end), {
      attempt: Math.max(lease.job.attempt, 1),
      retriesMs,
      now: clock.now(),
      unit: random.unit(),
    })
    await this.#settle(settings, settlementOf(verdict, lease, end))
    this.#count(target, verdict, clock.monotonic() - beganAt)
    this.#tell(lease.job, target, verdict, settings)
    await this.#note(target, verdict, settings)
  }

  /** Where it goes now, whatever held when it was made; or why it goes nowhere. */
  #targetOf({ job, request }: Lease, { config }: MakerSettings): Target | JobError {
    const { endpoints } = this.#parts
    if (job.route !== WEBHOOK_ROUTE) return { code: 'no_such_webhook', detail: 'It is no webhook: somebody else put it into this queue.' }
    if (!request.target.startsWith('/')) return callbackTarget(request.target, config)
    const name = request.target.slice(1)
    const endpoint = endpoints.get(name)
    if (endpoint === undefined) return { code: 'no_such_webhook', detail: `There is no endpoint ${name} any more.` }
    if (endpoints.isDisabled(name) && job.reference?.startsWith(TEST_ID) !== true) {
      return { code: 'webhook_disabled', detail: `The endpoint ${name} is disabled; enable it, and replay what it has missed.` }
    }
    const { url, headers, timeoutMs } = endpoint.config
    const expanded = hasParameters(url) ? expandUrl(url, topLevelOf(request.body)) : url
    return { name, endpoint, url: new URL(expanded), secrets: endpoints.secretsOf(endpoint), headers, timeoutMs }
  }

  #headersFor({ job, request }: Lease, target: Target): Readonly<Record<string, string>> {
    const id = job.reference ?? `msg_${job.id}`
    const timestampS = Math.floor(this.#parts.clock.now() / 1000)
    return {
      ...target.headers,
      'Content-Type': 'application/json',
      'User-Agent': USER_AGENT,
      'webhook-id': id,
      'webhook-timestamp': String(timestampS),
      'webhook-signature': signaturesOf({ id, timestampS, body: request.body }, target.secrets),
    }
  }

  async #settle({ queue }: MakerSettings, settlement: Ending): Promise<void> {
    await settleDurably(this.#parts, settlement, (settlements) => this.#parts.queues.settle(queue, settlements))
  }

  #count({ name }: Target, verdict: DeliveryVerdict, tookMs: Millis): void {
    const { metrics } = this.#parts.telemetry
    const outcome = verdict.kind === 'retry' ? verdict.error.code : OUTCOMES[verdict.kind]
    const { spillway_webhook_deliveries_total: total, spillway_webhook_delivery_seconds: seconds } = METRICS
    metrics.counter('spillway_webhook_deliveries_total', total.help, { endpoint: name, outcome }).inc()
    metrics.histogram('spillway_webhook_delivery_seconds', seconds.help, { endpoint: name }).observe(tookMs / 1000)
  }

  #tell(job: StoredJob, { name }: Target, verdict: DeliveryVerdict, { queue }: MakerSettings): void {
    if (verdict.kind !== 'retry' && verdict.kind !== 'gone') return
    const { code, status } = verdict.error
    const retry = verdict.kind === 'retry' && job.attempt < job.attempts ? { retryInMs: verdict.afterMs } : {}
    const reason = status === undefined ? code : `${code} ${status}`
    this.#parts.telemetry.event({
      type: 'attempt-failed',
      job: job.id,
      queue: queue.name,
      server: name,
      attempt: job.attempt,
      reason,
      ...retry,
    })
  }

  /** Where the store cannot be told, the next attempt will. */
  async #note({ name, endpoint }: Target, verdict: DeliveryVerdict, { config }: MakerSettings): Promise<void> {
    const { endpoints } = this.#parts
    // What answered may be where the endpoint no longer is: that says nothing of where it is now.
    if (endpoint === undefined || endpoints.get(name)?.config.url !== endpoint.config.url) return
    try {
      if (verdict.kind === 'succeed') await endpoints.succeeded(name)
      else if (verdict.kind === 'gone') await endpoints.disable(name, 'its receiver answered 410')
      else if (verdict.kind === 'retry') await endpoints.failed(name, config.disableAfterMs)
    } catch (error) {
      this.#parts.telemetry.event({ type: 'warning', message: `the state of webhook endpoint ${name} was not kept: ${String(error)}` })
    }
  }
}

const OUTCOMES = { succeed: 'delivered', gone: 'gone', handBack: 'handed-back' } as const

function slotOf(job: StoredJob): string {
  return job.key === undefined ? `id ${job.id}` : `key ${job.key}`
}

function callbackTarget(text: string, { callbacks }: MakerSettings['config']): Target | JobError {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || callbacks === undefined || !callbacks.urls.some((pattern) => matchesUrl(pattern, url))) {
    return { code: 'no_such_webhook', detail: 'The callback matches none of webhooks.callbacks.urls any more.' }
  }
  return { name: CALLBACK, url, secrets: callbacks.secrets, headers: {}, timeoutMs: callbacks.timeoutMs }
}

/** Of a payload of ours; whoever has sent it again may have changed it. */
function topLevelOf(body: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const payload: unknown = JSON.parse(Buffer.from(body).toString('utf8'))
    return isMapping(payload) ? payload : {}
  } catch {
    return {}
  }
}

function deliveryEnd(end: SendEnd): DeliveryEnd {
  return end.kind === 'failed' ? end : { kind: 'answer', status: end.answer.status, retryAfter: end.retryAfter }
}

function settlementOf(verdict: DeliveryVerdict, { ref }: Lease, end: SendEnd): Ending {
  const answer = end.kind === 'answer' ? { answer: end.answer } : {}
  switch (verdict.kind) {
    case 'succeed':
      return { kind: 'succeed', lease: ref, answer: (end as Extract<SendEnd, { kind: 'answer' }>).answer }
    case 'retry':
      return { kind: 'retry', lease: ref, afterMs: verdict.afterMs, error: verdict.error, ...answer }
    case 'gone':
      return { kind: 'fail', lease: ref, error: verdict.error, deadLetter: true, ...answer }
    case 'handBack':
      return { kind: 'handBack', lease: ref, afterMs: 0 }
  }
}
