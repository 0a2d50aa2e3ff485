/**
 * Queues, and what sends to them by itself: schedules and topics. For those of the file, and for documents that come over the queue API,
 * which are the same: one place says what they may hold.
 */
import type * as z from 'zod'
import { type DocumentLimits, isWrong, readJobDocument, type Wrong } from '../core/jobs/job-document.ts'
import { readCron } from '../lib/cron.ts'
import type { Config, QueueConfig, ScheduleConfig, ScheduleDocument, SubscriptionConfig, TopicConfig, TopicFilter } from './config.ts'
import type { Path, Problem } from './problem.ts'
import type { Report, ResolveOptions } from './report.ts'
import { checkName } from './report.ts'
import type { ParsedFile, ParsedQueue } from './schema.ts'
import { QUEUE_DEFAULTS } from './schema.ts'
import { PACE_DEFAULTS, type scheduleSchema, SIDELINE_DEFAULTS, type subscriptionSchema } from './schema-queues.ts'

export type ParsedSchedule = z.output<typeof scheduleSchema>
export type ParsedSubscription = z.output<typeof subscriptionSchema>

/** Schedules and topics say where their jobs go; a queue of its own is what a subscription without one has. */
export interface Sources {
  readonly schedules: readonly ScheduleConfig[]
  readonly topics: readonly TopicConfig[]
  readonly ownQueues: readonly QueueConfig[]
}

const NAME_LENGTH_MAX = 64

export interface QueuePlace {
  /** Whose servers work it off. */
  readonly pool?: string | undefined
  /** A spill route fills it: its jobs stand back behind live requests. */
  readonly spills?: boolean
}

export function resolveQueue(name: string, { pool, spills = false }: QueuePlace, queue: ParsedQueue, report: Report): QueueConfig {
  const { base, max } = queue.backoff
  if (base > max) report.error({ path: ['queues', name, 'backoff', 'base'], message: 'is longer than backoff.max' })
  const { age, overflow, ...limits } = queue.limits
  const sideline = queue.sideline ?? (spills ? SIDELINE_DEFAULTS : 'off')
  const pace = queue.pace ?? (spills ? PACE_DEFAULTS : 'off')
  return {
    name,
    ...(pool !== undefined && { pool }),
    pull: queue.pull ?? pool === undefined,
    concurrency: queue.concurrency,
    attempts: queue.attempts,
    backoff: { baseMs: base, maxMs: max },
    timeoutMs: queue.timeout,
    defer: { maxMs: queue.defer.max, jobs: queue.defer.jobs },
    ...finite('expireAfterMs', queue.expireAfter),
    ...finite('deadlineMs', queue.deadline),
    keepMs: queue.keep,
    keepDeadMs: queue.keepDead,
    deadLetter: queue.deadLetter,
    onUnauthorized: queue.onUnauthorized,
    rules: {
      onFailure: queue.onFailure,
      ...finite('ageingMs', queue.ageing),
      ...(queue.maxRunning !== undefined && { maxRunning: queue.maxRunning }),
      ...(queue.rate !== undefined && { rate: queue.rate }),
      ...(queue.keyRate !== undefined && { keyRate: queue.keyRate }),
      ...(queue.tenantMaxRunning !== undefined && { tenantMaxRunning: queue.tenantMaxRunning }),
      overflow,
      ...(sideline !== 'off' && { sideline: { afterMs: sideline.after, share: sideline.share } }),
    },
    limits: { ...limits, ...finite('age', age) },
    ...(pace !== 'off' && { pace: { intervalMs: pace.interval } }),
    ...(queue.shed !== 'off' && { shedFrom: queue.shed.from }),
  }
}

function finite<K extends string>(name: K, value: number): Partial<Record<K, number>> {
  return Number.isFinite(value) ? ({ [name]: value } as Record<K, number>) : {}
}

/** A queue of which nothing is written. */
export function defaultQueue(name: string): QueueConfig {
  return resolveQueue(name, {}, QUEUE_DEFAULTS, { error: () => undefined, warn: () => undefined })
}

export function resolveSources(file: ParsedFile, queueNames: readonly string[], options: ResolveOptions): Sources {
  const { report } = options
  const limits = documentLimits(file)
  const schedules = Object.entries(file.schedules).map(([name, schedule]) => {
    const path = ['schedules', name]
    checkName(schedule.queue, queueNames, { path: [...path, 'queue'], what: 'queue', hint: '; define it under queues' }, report)
    for (const problem of scheduleProblems(schedule, limits)) report.error({ ...problem, path: [...path, ...problem.path] })
    return { name, document: scheduleDocument(schedule) }
  })
  const own: QueueConfig[] = []
  const topics = Object.entries(file.topics).map(([topic, { subscriptions }]) => ({
    name: topic,
    subscriptions: Object.entries(subscriptions).map(([name, subscription]) => {
      const path = ['topics', topic, 'subscriptions', name]
      const resolved = resolveSubscription(topic, name, subscription)
      if (subscription.queue !== undefined) {
        checkName(subscription.queue, queueNames, { path: [...path, 'queue'], what: 'queue', hint: '; define it under queues' }, report)
      } else if (resolved.queue.length > NAME_LENGTH_MAX) {
        report.error({
          path,
          message: `its queue ${resolved.queue} has more than ${NAME_LENGTH_MAX} characters; name a queue`,
          onKey: true,
        })
      } else if (!queueNames.includes(resolved.queue)) own.push(defaultQueue(resolved.queue))
      return resolved
    }),
  }))
  return { schedules, topics, ownQueues: own }
}

export function resolveSubscription(topic: string, name: string, subscription: ParsedSubscription): SubscriptionConfig {
  const { queue = `${topic}.${name}`, filter } = subscription
  return { name, queue, ...(filter !== undefined && { filter: filter satisfies TopicFilter }) }
}

export function scheduleDocument({ cron, every, ...rest }: ParsedSchedule): ScheduleDocument {
  return { ...rest, ...(cron !== undefined && { cron }), ...(every !== undefined && { every }) }
}

/** What a job's document may hold, by a file or by a configuration. */
export function documentLimits({ limits, webhooks }: Pick<ParsedFile | Config, 'limits' | 'webhooks'>): DocumentLimits {
  return { headBytesMax: limits.head, headersMax: limits.headers, targetBytesMax: limits.target, callbacks: webhooks?.callbacks?.urls }
}

/** What its form does not show. */
export function scheduleProblems(schedule: ParsedSchedule, limits: DocumentLimits): Problem[] {
  const problems: Problem[] = []
  const { cron, every, timeZone, job } = schedule
  if ((cron === undefined) === (every === undefined)) {
    problems.push({ path: [], message: 'needs either cron or every', onKey: true })
  }
  const reading = cron === undefined ? undefined : readCron(cron, timeZone)
  if (reading !== undefined && 'wrong' in reading) {
    problems.push({ path: [reading.wrong.startsWith('there is no time zone') ? 'timeZone' : 'cron'], message: reading.wrong })
  }
  const document = readJobDocument(job, limits)
  if (isWrong(document)) problems.push(jobProblem(document))
  else if (document.idempotencyKey !== undefined) {
    problems.push({ path: ['job', 'idempotencyKey'], message: 'has no meaning here: each due time makes one job' })
  }
  return problems
}

function jobProblem(wrong: Wrong): Problem {
  const problem = documentProblem(wrong)
  return { ...problem, path: ['job', ...problem.path] }
}

/** What is wrong with a document, where it stands in a file. */
export function documentProblem({ path, wrong }: Wrong): Problem {
  const [, before = '', header] = /^(.*?)(?:headers\[(".*")\])?$/.exec(path) ?? []
  const parts: Path = before.split('.').filter((part) => part !== '')
  const inside: Path = header === undefined ? parts : [...parts, 'headers', JSON.parse(header) as string]
  return { path: inside, message: wrong, onKey: wrong.startsWith('there is no such field') }
}
