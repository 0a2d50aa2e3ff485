/** What a full queue answers, on a route and in the queue API alike. It is also told to who runs the gateway: call it once per call. */
import type { QueueConfig } from '../config/config.ts'
import { type ErrorCode, type Failure, failure } from '../core/errors.ts'
import type { RefusedBatch } from '../jobs/batches.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'

export interface Refused {
  readonly limit: string
  readonly detail: string
}

interface RefusalParts {
  readonly jobs: Pick<Jobs, 'roomInSeconds'>
  readonly telemetry: Pick<Telemetry, 'event'>
}

const CODES: Readonly<Record<string, ErrorCode>> = { disk: 'store_unavailable', priority: 'shed' }

export function refusal({ jobs, telemetry }: RefusalParts, queue: QueueConfig, { limit, detail }: Refused): Failure {
  const limits: Readonly<Record<string, number | undefined>> = { ...queue.limits }
  telemetry.event({ type: 'limit-reached', limit, where: queue.name, value: limits[limit] ?? 0 })
  return failure(CODES[limit] ?? 'queue_full', detail, jobs.roomInSeconds(queue.name))
}

/** So long batches are kept at least, so there is no hurry. */
const BATCHES_AFTER_SECONDS = 60

/** Why a batch was not taken; undefined: the engine failed. */
export function batchRefusal(
  parts: { readonly jobs: Pick<Jobs, 'roomInSeconds' | 'queues'>; readonly telemetry: Pick<Telemetry, 'event'> },
  refused: RefusedBatch | undefined,
): Failure {
  switch (refused?.kind) {
    case undefined:
      return failure('store_unavailable', 'The store did not take the batch; whether it will be worked on is unknown.', 1)
    case 'conflict':
      return failure('idempotency_conflict', 'The idempotency key belongs to another batch.')
    case 'gone':
      return failure('no_such_batch', 'The idempotency key belongs to a batch that has ended and is no longer kept.')
    case 'too-many':
      parts.telemetry.event({ type: 'limit-reached', limit: 'batches', where: 'gateway', value: refused.max })
      return failure(
        'too_many_batches',
        `${refused.max} batches are kept, as many as there may be (limits.batches).`,
        BATCHES_AFTER_SECONDS,
      )
    case 'refused': {
      const queue = parts.jobs.queues.find(refused.queue)?.config
      return queue === undefined ? failure('store_unavailable', refused.detail, 1) : refusal(parts, queue, refused)
    }
  }
}
