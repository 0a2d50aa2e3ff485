/** Queues as they are and as they stand, and those that are made here. */
import { isName, readQueueDocument } from '../../config/documents.ts'
import { type Failure, failure, isFailure } from '../../core/errors.ts'
import type { DefinedQueue } from '../../jobs/definitions.ts'
import type { QueueStats } from '../../ports/job-store.ts'
import { timeText } from './job-view.ts'
import { type ApiParts, DOCUMENT_BYTES_MAX, mayNot, noSuchQueue, queueFor, sendable } from './parts.ts'
import { type ApiRequest, invalid, json, NO_CONTENT, NOBODY, type Outcome, readDocument } from './request.ts'

export async function listQueues(request: ApiRequest, parts: ApiParts): Promise<Outcome> {
  const stats = new Map((await parts.jobs.queues.stats()).map((each) => [each.queue, each]))
  const shown = [...parts.jobs.queues.all()].filter(({ config }) => request.caller.may('browse', config.name))
  return json(200, { queues: shown.map((queue) => queueView(parts, queue, stats.get(queue.config.name))) })
}

export async function showQueue(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const queue = queueFor(parts, request.caller, 'browse', name)
  if (isFailure(queue)) return queue
  const stats = (await parts.jobs.queues.stats()).find((each) => each.queue === name)
  return json(200, queueView(parts, queue, stats))
}

export async function putQueue(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  if (!isName(name)) return invalid('A name is 1 to 64 letters, digits, "-", "_" or ".", and begins with a letter or digit.')
  const refused = mayNot(request.caller, 'manage', name)
  if (refused !== undefined) return refused
  const read = await readDocument(request, DOCUMENT_BYTES_MAX, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const queue = readQueueDocument(name, read.value, parts.config, [...sendable(parts, request.caller), name])
  if ('wrong' in queue) return invalid(`${queue.wrong}.`)
  const { pool } = queue.value
  if (pool !== undefined && parts.jobs.queues.find(name)?.config.pool !== pool && !request.caller.mayName(pool))
    return failure('forbidden', `This key may not let the pool ${pool} work off a queue; see api.keys.pools.`)
  const outcome = await parts.jobs.queues.put(queue.value, read.value)
  if (outcome === 'in-file') return inFile('queue')
  if (outcome === 'too-many') return tooManyQueues(parts)
  const stats = (await parts.jobs.queues.stats()).find((each) => each.queue === name)
  return json(outcome === 'made' ? 201 : 200, queueView(parts, parts.jobs.queues.find(name) as DefinedQueue, stats))
}

export async function dropQueue(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const queue = queueFor(parts, request.caller, 'manage', name)
  if (isFailure(queue)) return queue
  switch (await parts.jobs.queues.drop(name)) {
    case 'dropped':
      return NO_CONTENT
    case 'in-file':
      return inFile('queue')
    case 'missing':
      return noSuchQueue()
    case 'not-empty':
      return failure('not_empty', 'The queue holds jobs, or a schedule, a subscription or a task names it. Purge it first.')
  }
}

export function tooManyQueues({ config }: ApiParts): Failure {
  return failure('too_many_queues', `${config.api.queuesMax} queues were made here, as many as there may be (api.queuesMax).`)
}

export function inFile(what: string): ReturnType<typeof failure> {
  return failure('defined_in_file', `This ${what} stands in the configuration; change it there.`)
}

function queueView(parts: ApiParts, { config, origin, document }: DefinedQueue, stats: QueueStats | undefined): Record<string, unknown> {
  const { jobs, clock } = parts
  const { name, pool, pull, attempts, timeoutMs, rules, limits } = config
  const owned = jobs.owned().filter(({ queue }) => queue === name)
  return {
    name,
    definedIn: origin,
    pool,
    pull,
    paused: stats?.paused ?? false,
    counts: stats?.counts,
    scheduled: stats?.scheduled ?? 0,
    bytes: stats?.bytes ?? 0,
    finishedBytes: stats?.finishedBytes ?? 0,
    oldestWaitingAt: timeText(stats?.oldestWaitingAt),
    oldestWaitingMs: stats?.oldestWaitingAt === undefined ? undefined : Math.max(0, clock.now() - stats.oldestWaitingAt),
    oldestRunningAt: timeText(stats?.oldestRunningAt),
    dead: stats?.dead ?? {},
    blockedKeys: stats?.blockedKeys ?? 0,
    deferred: stats?.deferred ?? 0,
    attempts,
    timeoutMs,
    limits: stats?.limits ?? limits,
    rules: stats?.rules ?? rules,
    endedPerSecond: Number(jobs.endedPerSecond(name).toPrecision(3)),
    receivers: jobs.queues.receiversOf(name),
    buckets: Object.fromEntries(owned.map(({ server, buckets }) => [server, buckets])),
    definition: document,
  }
}
