/**
 * From the end of a job, or whatever else is worth telling, to the webhooks that tell of it: one job for each endpoint that asks for it, and one
 * for the callback that a client has named. A webhook is a job like any other, in a queue of its own.
 */
import { hash } from 'node:crypto'
import type { QueueConfig, WebhooksConfig } from '../config/config.ts'
import { endOf, followUpPlan } from '../core/jobs/follow-up.ts'
import { KEY_LENGTH_MAX, REFERENCE_LENGTH_MAX, TENANT_LENGTH_MAX } from '../core/jobs/limits.ts'
import { asksFor, type EventOrigin, eventTypeOf, TEST_EVENT } from '../core/webhooks/events.ts'
import type { EndedJob, FollowUp } from '../jobs/follow-ups.ts'
import type { Bytes, EpochMillis } from '../lib/units.ts'
import type { JobAnswer, StoredJob } from '../ports/job-store.ts'
import type { Endpoint, Endpoints } from './endpoints.ts'
import { payloadOf } from './payload.ts'

/** Where the route of a request would stand: by it the sender knows its own jobs from what others may have put into the queue. */
export const WEBHOOK_ROUTE = 'webhook'
/** Of all callbacks, in metrics and lists. */
export const CALLBACK = 'callback'

/** What of a result's bytes may be its head: only a result that may be small enough is read. */
const HEAD_BYTES_MAX: Bytes = 64 * 1024

export interface WebhookEvent extends EventOrigin {
  /** Of the event, not of a webhook: the same for all that tell of it, and whenever one is sent again. Without a dot. */
  readonly id: string
  /** When it happened. */
  readonly at: EpochMillis
  readonly key?: string | undefined
  /** Plain data; `type` and `timestamp` are put before it. */
  readonly document: Readonly<Record<string, unknown>>
  answer?(): Promise<JobAnswer | undefined>
  /** Of the answer, head and body, where that is known. */
  readonly resultBytes?: Bytes | undefined
  /** Where a client wants to be told of this one. */
  readonly callback?: string | undefined
}

export type WebhookJob = FollowUp['jobs'][number]

export interface MakerParts {
  readonly endpoints: Endpoints
  /** What clients see of a job that has ended. */
  readonly documentOf: (job: StoredJob) => Readonly<Record<string, unknown>>
}

/** What holds now. */
export interface MakerSettings {
  readonly config: WebhooksConfig
  readonly queue: QueueConfig
}

/** To an endpoint, or to the URL of a callback. */
export type Recipient = { readonly endpoint: Endpoint } | { readonly callback: string }

export class WebhookMaker {
  readonly #parts: MakerParts

  constructor(parts: MakerParts) {
    this.#parts = parts
  }

  async followUp(ended: Pick<EndedJob, 'job' | 'answer'>, settings: MakerSettings): Promise<FollowUp | undefined> {
    if (ended.job.queue === settings.queue.name) return undefined
    const event = this.eventOf(ended.job, () => ended.answer())
    if (event === undefined) return undefined
    const recipients = this.recipientsOf(event)
    if (recipients.length === 0) return undefined
    return { jobs: this.jobsTo(recipients, event, { ...settings, answer: await this.answerFor(event, settings) }) }
  }

  /** Undefined: it has not ended, or is a webhook itself, also where it waits in a queue that was called otherwise. */
  eventOf(job: StoredJob, answer: () => Promise<JobAnswer | undefined>): WebhookEvent | undefined {
    const type = eventTypeOf(job.status)
    if (type === undefined || job.route === WEBHOOK_ROUTE) return undefined
    const { queue, route, key, submittedAt, finishedAt = submittedAt, resultBytes } = job
    const document = this.#parts.documentOf(job)
    const callback = callbackOf(job)
    const origin = { type, queue, route, key }
    return { ...origin, id: eventId(job), at: finishedAt, document, callback, resultBytes, ...(job.hasAnswer && { answer }) }
  }

  /** Everybody who asks for it. */
  recipientsOf(event: WebhookEvent): readonly Recipient[] {
    const asking = this.#parts.endpoints.all().filter(({ config }) => asksFor(config, event))
    const recipients: Recipient[] = asking.map((endpoint) => ({ endpoint }))
    if (event.callback !== undefined) recipients.push({ callback: event.callback })
    return recipients
  }

  /** What may be sent along. */
  async answerFor(event: WebhookEvent, { config }: MakerSettings): Promise<JobAnswer | undefined> {
    return (event.resultBytes ?? 0) > config.inline + HEAD_BYTES_MAX ? undefined : event.answer?.()
  }

  jobsTo(
    recipients: readonly Recipient[],
    event: WebhookEvent,
    settings: MakerSettings & { readonly answer?: JobAnswer | undefined },
  ): readonly WebhookJob[] {
    if (recipients.length === 0) return []
    const { type, at, document } = event
    const whole = { type, timestamp: new Date(at).toISOString(), ...document }
    const body = payloadOf(whole, settings.answer, settings.config.inline)
    return recipients.map((recipient) => webhookJob(recipient, event, body, settings))
  }
}

/** What is kept may have been written by another version. */
function callbackOf({ followUp }: StoredJob): string | undefined {
  const { callback } = followUpPlan(followUp)
  return typeof callback === 'string' && URL.canParse(callback) ? callback : undefined
}

export function testEvent(endpoint: string, id: string, at: EpochMillis): WebhookEvent {
  return { id: `msg_test_${id}`, type: TEST_EVENT, at, document: { id, endpoint } }
}

const EVENT_ID = /^msg_([0-9a-z]{11})_(\d+_\d+)$/

function eventId(job: StoredJob): string {
  return `msg_${job.id}_${endOf(job)}`
}

/** Which end of which job; undefined: it tells of something else. */
export function jobOfEvent(id: string): { readonly job: string; readonly end: string } | undefined {
  const [, job, end] = EVENT_ID.exec(id) ?? []
  return job === undefined || end === undefined ? undefined : { job, end }
}

function webhookJob(recipient: Recipient, event: WebhookEvent, body: Buffer, { queue, config }: MakerSettings): WebhookJob {
  const [name, target] = 'endpoint' in recipient ? [recipient.endpoint.name, `/${recipient.endpoint.name}`] : [CALLBACK, recipient.callback]
  const key = 'endpoint' in recipient && recipient.endpoint.config.order === 'key' ? event.key : undefined
  return {
    // One for each recipient of an event, whatever endpoints are called.
    name: 'endpoint' in recipient ? `webhook ${name}` : CALLBACK,
    job: {
      queue: queue.name,
      route: WEBHOOK_ROUTE,
      request: { method: 'POST', target, headers: ['Content-Type', 'application/json'], body },
      priority: 0,
      attempts: config.retriesMs.length + 1,
      keepMs: queue.keepMs,
      keepDeadMs: queue.keepDeadMs,
      sendOnce: false,
      reference: event.id.slice(0, REFERENCE_LENGTH_MAX),
      tenant: tenantOf(recipient),
      ...(key !== undefined && { key: keyOf(name, key) }),
    },
  }
}

/** Endpoints take turns, and so do the hosts of callbacks. No endpoint has a name with a blank. */
function tenantOf(recipient: Recipient): string {
  if ('endpoint' in recipient) return recipient.endpoint.name
  return `${CALLBACK} ${new URL(recipient.callback).host}`.slice(0, TENANT_LENGTH_MAX)
}

function keyOf(endpoint: string, key: string): string {
  const whole = `${endpoint}/${key}`
  return whole.length <= KEY_LENGTH_MAX ? whole : `${endpoint}/${hash('sha256', key, 'hex')}`
}
