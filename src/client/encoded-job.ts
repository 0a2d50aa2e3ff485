/** Jobs as they are sent, and results as they are given. */
import { newKey } from './new-key.ts'
import { SpillwayError } from './errors.ts'
import type { NewJob } from './jobs.ts'
import { encodeBody } from './payload.ts'

/** A job on its way, as JSON. */
export interface Encoded {
  readonly json: string
  readonly bytes: number
}

const textEncoder = new TextEncoder()

export function encodeJob<Payload>(job: NewJob<Payload>): Encoded {
  const { payload, contentType, idempotencyKey = newKey(), ...options } = job
  const json = JSON.stringify({ ...encodeBody(payload, contentType), ...options, idempotencyKey })
  return { json, bytes: textEncoder.encode(json).length }
}

/** A result as the API gives it: seconds become milliseconds, everything else stays. */
export function decodeResult<Result>(wire: unknown): Result {
  if (typeof wire !== 'object' || wire === null || !('status' in wire) || typeof wire.status !== 'string') {
    throw new SpillwayError('bad_answer', `not a result: ${JSON.stringify(wire)?.slice(0, 200)}`)
  }
  const { retryAfter, ...result } = wire as Readonly<Record<string, unknown>>
  return (typeof retryAfter === 'number' ? { ...result, retryAfterMs: retryAfter * 1000 } : result) as Result
}
