/** What a full queue answers, on a route and in the queue API alike. It is also told to who runs the gateway: call it once per call. */
import type { QueueConfig } from '../config/config.ts'
import { type ErrorCode, type Failure, failure } from '../core/errors.ts'
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
