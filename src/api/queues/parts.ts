/** What the handlers of the queue API work with, and the questions that all of them ask first: is there such a queue, and may they. */
import type { ApiRight, Config } from '../../config/config.ts'
import { type Failure, failure } from '../../core/errors.ts'
import type { DefinedQueue } from '../../jobs/definitions.ts'
import type { Jobs } from '../../jobs/jobs.ts'
import type { BufferBudget } from '../../net/buffer-budget.ts'
import type { Clock, Random } from '../../ports/clock.ts'
import type { Telemetry } from '../../telemetry/telemetry.ts'
import type { Webhooks } from '../../webhooks/webhooks.ts'
import type { Caller } from './rights.ts'

export interface ApiParts {
  readonly config: Config
  readonly jobs: Jobs
  readonly webhooks: Webhooks
  readonly budget: BufferBudget
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
}

/** Small documents: nothing in them grows with the work. */
export const DOCUMENT_BYTES_MAX = 1024 * 1024

export function noSuchQueue(): Failure {
  return failure('no_such_queue', 'There is no queue of this name.')
}

export function noSuchJob(): Failure {
  return failure('no_such_job', 'There is no such job, or it is no longer kept.')
}

/** A queue that the caller may not see is as one that is not there. */
export function queueFor(parts: ApiParts, caller: Caller, right: ApiRight, name: string): DefinedQueue | Failure {
  const queue = parts.jobs.queues.find(name)
  if (queue === undefined || !caller.sees(name)) return noSuchQueue()
  return caller.may(right, name) ? queue : missingRight(right)
}

export function missingRight(right: ApiRight): Failure {
  return failure('forbidden', `The key has not the right to ${right} here.`)
}

/** Undefined: it may. */
export function mayNot(caller: Caller, right: ApiRight, name: string): Failure | undefined {
  if (!caller.sees(name)) return noSuchQueue()
  return caller.may(right, name) ? undefined : missingRight(right)
}

/** To which results of jobs that the caller sends may go. */
export function sendable(parts: ApiParts, caller: Caller): readonly string[] {
  const queues = [...parts.jobs.queues.all()].filter(({ origin }) => origin !== 'none')
  return queues.flatMap(({ config: { name } }) => (caller.may('send', name) ? [name] : []))
}

/** The engine has told its owner what is wrong. */
export function storeUnavailable(): Failure {
  return failure('store_unavailable', 'The store cannot be asked now.', 1)
}
