/** What is told of: the types of events, and which of them an endpoint asks for. */
import type { JobStatus } from '../jobs/record.ts'

export const WEBHOOK_EVENTS = ['job.succeeded', 'job.failed', 'job.cancelled', 'job.expired', 'batch.ended'] as const
export type WebhookEventType = (typeof WEBHOOK_EVENTS)[number]
/** Sent when somebody asks for it, whatever the endpoint asks for. */
export const TEST_EVENT = 'webhook.test'

export interface EventFilter {
  readonly events: readonly string[]
  /** Names, or beginnings that end with `*`. Absent: all. */
  readonly queues?: readonly string[]
  readonly routes?: readonly string[]
}

export interface EventOrigin {
  readonly type: string
  /** Where it has none, only those that ask for all are told. */
  readonly queue?: string | undefined
  readonly route?: string | undefined
}

/** Undefined: it has not ended. */
export function eventTypeOf(status: JobStatus): WebhookEventType | undefined {
  const type = `job.${status}`
  return WEBHOOK_EVENTS.find((each) => each === type)
}

export function asksFor(filter: EventFilter, event: EventOrigin): boolean {
  return filter.events.includes(event.type) && isNamed(filter.queues, event.queue) && isNamed(filter.routes, event.route)
}

/** Could the end of a job of this queue be one that it asks for? */
export function asksForQueue(filter: EventFilter, queue: string): boolean {
  return filter.events.some((type) => type.startsWith('job.')) && isNamed(filter.queues, queue)
}

function isNamed(patterns: readonly string[] | undefined, name: string | undefined): boolean {
  if (patterns === undefined) return true
  if (name === undefined) return false
  return patterns.some((pattern) => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern))
}
