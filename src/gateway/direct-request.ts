/** What a request is that is served now, and what is handed over when it becomes a job instead. */
import type { ServerFields } from './actions.ts'
import type { RouteConfig } from '../config/config.ts'
import { type Failure, failure } from '../core/errors.ts'
import { isServerFault } from '../core/health/outliers.ts'
import { parseRetryAfter } from '../core/jobs/settlement.ts'
import type { SpillCause } from '../core/routing/route-mode.ts'
import { type FlatHeaders, headerValue } from '../http1/message.ts'
import type { Millis } from '../lib/units.ts'
import type { BodySink } from '../net/call.ts'
import type { Pool } from '../pools/pool.ts'
import type { KeyRef } from '../ports/job-store.ts'
import type { OutgoingBody } from '../upstream/upstream.ts'
import type { Choice } from './choice.ts'
import type { LiveContext } from './context.ts'

export interface DirectRequest {
  readonly route: RouteConfig
  readonly pool: Pool
  /** Instead of the client's. */
  readonly target: string | undefined
  /** For the server, without framing. */
  readonly fields: ServerFields
  /** Set when the route answers for CORS: replaces what the server says about it. */
  readonly cors: readonly string[] | undefined
  /** Hash of what binds it to a server, where the pool balances by that. */
  readonly keyHash: number | undefined
  /** Where more than balancing decides which pool and which server it gets. */
  readonly choice: Choice | undefined
  /** Who waits longest for a slot, and is refused first: 0 before 9. */
  readonly priority: number
  /** Of its key others must not pass it, nor it them; the store had none of them when it was asked. */
  readonly order: KeyRef | undefined
  /** Set when the request may become a job: takes over, with the whole or the beginning of the body. */
  readonly spill: ((handOver: SpillHandOver) => void) | undefined
  /** Set in a worker: whoever finds no free slot waits elsewhere, with the whole or the beginning of the body. */
  readonly elsewhere?: ((handOver: SpillHandOver) => void) | undefined
}

export interface SpillHandOver {
  /** `queueing`: not for lack of a server, but because the route or its key queues. */
  readonly cause: SpillCause | 'queueing'
  readonly reason: string
  /** What was read of the body so far. */
  readonly chunks: readonly Uint8Array[]
  /** The body's end was read. */
  readonly complete: boolean
  /** Behind a body that is complete. */
  readonly trailers: readonly string[]
  /** Where the rest of the body goes; set by the taker unless `complete`. */
  rest: BodySink | undefined
  /** The body was never started: the taker reads it by itself. */
  readonly untouched: boolean
}

export function orderUnknown(): Failure {
  return failure('store_unavailable', 'The store cannot say whether others of the same key come first.')
}

export function outgoingBody(bodyLength: number): OutgoingBody {
  if (bodyLength === 0) return 'none'
  return bodyLength > 0 ? { bytes: bodyLength } : 'chunked'
}

/** While another server may have a better answer. */
export function isBad(status: number): boolean {
  return isServerFault(status) || isNotNow(status)
}

/** The server says that it cannot take it at this time. */
export function isNotNow(status: number): boolean {
  return status === 503 || status === 429
}

export function retryAfterMs(headers: FlatHeaders, context: LiveContext): Millis | undefined {
  return parseRetryAfter(headerValue(headers, 'retry-after'), context.clock.now())
}
