/**
 * Documents of the queue API that are the same as parts of a configuration: a queue, a schedule, a topic's subscription. Read by the schema of
 * the configuration, so that both may hold the same and say the same of what is wrong.
 */
import type * as z from 'zod'
import type { Config, EndpointConfig, QueueConfig, ScheduleDocument, SubscriptionConfig, WebhooksConfig } from './config.ts'
import type { Then } from '../core/jobs/then.ts'
import { isMapping } from '../lib/mapping.ts'
import { NAME } from './fields.ts'
import { problemsOf } from './parse.ts'
import { pathText, type Problem } from './problem.ts'
import { readWrittenThen } from './resolve-chains.ts'
import { documentLimits, resolveQueue, resolveSubscription, scheduleDocument, scheduleProblems } from './resolve-queues.ts'
import { endpointProblems, resolveEndpoint } from './resolve-webhooks.ts'
import { queueSchema, scheduleSchema, subscriptionSchema } from './schema-queues.ts'
import { endpointSchema } from './schema-webhooks.ts'

export type DocumentReading<T> = { readonly value: T } | { readonly wrong: string }

type Known = Pick<Config, 'pools' | 'limits' | 'routes' | 'webhooks'>

export function isName(text: string): boolean {
  return NAME.test(text)
}

/** `queues`: those to which its results may go; absent: they are not looked at. */
export function readQueueDocument(name: string, document: unknown, known: Known, queues?: readonly string[]): DocumentReading<QueueConfig> {
  const { pools, routes } = known
  const read = parsed(queueSchema, document, ['queues', name])
  if ('wrong' in read) return read
  const { pool } = read.value
  const problems: Problem[] = []
  if (pool !== undefined && !pools.some((each) => each.name === pool))
    problems.push({ path: ['pool'], message: `there is no pool "${pool}"` })
  if (pool === undefined && read.value.pull === false) {
    problems.push({ path: ['pull'], message: 'nobody may work it off: name a pool, or leave this key out' })
  }
  const error = (problem: Problem): void => void problems.push({ ...problem, path: problem.path.slice(2) })
  const value = resolveQueue(name, { pool }, read.value, { error, warn: () => undefined })
  const { then: written } = read.value
  const allowed = { routes, limits: documentLimits(known), ...(queues !== undefined && { queues }) }
  const then = written === undefined ? undefined : readWrittenThen(written, allowed)
  if (then !== undefined && 'message' in then) problems.push({ ...then, path: ['then', ...then.path] })
  if (problems.length > 0) return { wrong: textOf(problems) }
  return { value: then === undefined ? value : { ...value, then: then as Then } }
}

export function readScheduleDocument(
  name: string,
  document: unknown,
  config: Pick<Known, 'limits' | 'webhooks'>,
): DocumentReading<ScheduleDocument> {
  // The job is not the schema's, and stays as it is: numbers that were kept to the digit would not survive a copy.
  const job = isMapping(document) && isMapping(document['job']) ? document['job'] : undefined
  const read = parsed(scheduleSchema, job === undefined ? document : { ...(document as object), job: {} }, ['schedules', name])
  if ('wrong' in read) return read
  const schedule = { ...read.value, job: job ?? read.value.job }
  const problems = scheduleProblems(schedule, documentLimits(config))
  return problems.length === 0 ? { value: scheduleDocument(schedule) } : { wrong: textOf(problems) }
}

export function readSubscriptionDocument(
  topic: string,
  name: string,
  document: unknown,
  { limits }: Pick<Known, 'limits'>,
): DocumentReading<SubscriptionConfig> {
  const read = parsed(subscriptionSchema, document, ['topics', topic, 'subscriptions', name])
  if ('wrong' in read) return read
  const value = resolveSubscription(topic, name, read.value)
  const { headers = {}, fields = {} } = value.filter ?? {}
  // Every job that is published is compared with each of them, while everybody else waits.
  const values = [...Object.values(headers), ...Object.values(fields)].flat().length
  const { filterValues } = limits
  return values > filterValues
    ? { wrong: `filter: names ${values} values, at most ${filterValues} may be named (limits.filterValues)` }
    : { value }
}

/** Its secrets, and what kinds are to be made where it has none, beside it: they are kept and shown otherwise than the rest. */
export interface EndpointDocument {
  readonly endpoint: EndpointConfig
  readonly signature: 'v1' | 'v1a' | 'both'
}

/** `rules`: of where it may be; absent: it is not asked, because whoever connects asks again. */
export function readEndpointDocument(
  name: string,
  document: unknown,
  rules?: Pick<WebhooksConfig, 'allow' | 'https'>,
): DocumentReading<EndpointDocument> {
  const read = parsed(endpointSchema, document, ['webhooks', 'endpoints', name])
  if ('wrong' in read) return read
  const { secret, secrets, signature = 'v1' } = read.value
  const problems = endpointProblems(read.value, rules)
  if (secret !== undefined && secrets !== undefined)
    problems.push({ path: ['secrets'], message: 'there is a secret, too; list all of them here' })
  const given = secrets ?? (secret === undefined ? [] : [secret])
  return problems.length === 0 ? { value: { endpoint: resolveEndpoint(name, read.value, given), signature } } : { wrong: textOf(problems) }
}

/** `place`: where the same stands in a configuration, for suggestions. */
function parsed<S extends z.ZodType>(schema: S, document: unknown, place: readonly string[]): DocumentReading<z.output<S>> {
  // A document may be left out where everything has a default; checking changes what it is given.
  const copy = copyOf(document ?? {})
  if (copy === undefined) return { wrong: 'The document is nested too deeply, or has a number of too many digits' }
  const outcome = problemsOf(schema, copy, place)
  return 'data' in outcome ? { value: outcome.data } : { wrong: textOf(outcome.problems) }
}

/** Undefined: it is nested too deeply, or has a number that would lose digits. */
function copyOf(document: unknown): unknown {
  try {
    return structuredClone(document)
  } catch {
    return undefined
  }
}

function textOf(problems: readonly Problem[]): string {
  return problems
    .map(({ path, message, suggestion }) => {
      const hint = suggestion === undefined ? '' : ` (did you mean ${suggestion}?)`
      return `${path.length === 0 ? '' : `${pathText(path)}: `}${message}${hint}`
    })
    .join('; ')
}
