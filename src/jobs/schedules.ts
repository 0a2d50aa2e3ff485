/**
 * Schedules: from the document that says what is wanted to what the store keeps, and those of the configuration put in place at the start.
 * One that has not changed is left alone, because the store knows when it ran last and what became due since.
 */
import { hash } from 'node:crypto'
import type { Config, QueueConfig, ScheduleDocument } from '../config/config.ts'
import { documentLimits } from '../config/resolve-queues.ts'
import { isWrong, readJobDocument, type Wrong } from '../core/jobs/job-document.ts'
import { parseDuration } from '../lib/duration.ts'
import type { EpochMillis, Millis } from '../lib/units.ts'
import type { JobCommand, JobStore, NewJob, NewSchedule, ScheduleState } from '../ports/job-store.ts'
import { type Origin, storedDefinition } from './definitions.ts'
import { newJobOf, thenCompleter } from './new-job.ts'

/** Kept with the schedule in the store. */
interface StoredSchedule {
  readonly origin: Origin
  readonly document: ScheduleDocument
  /** Of the job that it makes: the settings of its queue may have changed. */
  readonly print: string
}

export function newScheduleOf(
  name: string,
  document: ScheduleDocument,
  queue: QueueConfig,
  made: {
    readonly config: Pick<Config, 'limits' | 'routes' | 'webhooks'>
    /** To which results may be sent on. */
    readonly queues: readonly string[]
    readonly now: EpochMillis
    readonly origin: Origin
    readonly before?: ScheduleState | undefined
  },
): NewSchedule | Wrong {
  const { limits } = made.config
  const read = readJobDocument(document.job, documentLimits(made.config))
  if (isWrong(read)) return { ...read, path: read.path === '' ? 'job' : `job.${read.path}` }
  const completeThen = thenCompleter(made.config.routes, () => made.queues)
  const job = newJobOf(read, queue, { route: `schedule ${name}`, scope: '', bodyBytesMax: limits.jobBody, completeThen })
  if ('wrong' in job) return { ...job, path: job.path === '' ? 'job' : `job.${job.path}` }
  const { cron, timeZone, every, missed, paused } = document
  const everyMs = every === undefined ? 0 : (parseDuration(every) ?? 0)
  const stored: StoredSchedule = { origin: made.origin, document, print: printOf(job) }
  return {
    name,
    when: cron === undefined ? { everyMs, startAt: startOf(everyMs, made.before) ?? made.now } : { cron, timeZone },
    missed,
    job,
    paused,
    definition: JSON.stringify(stored),
  }
}

/** What is due as often as before goes on as before. */
function startOf(everyMs: Millis, before: ScheduleState | undefined): EpochMillis | undefined {
  return before !== undefined && 'everyMs' in before.when && before.when.everyMs === everyMs ? before.when.startAt : undefined
}

/** Undefined: it was not made by us. */
export function documentOf(
  schedule: Pick<ScheduleState, 'definition'>,
): { readonly origin: Origin; readonly document: ScheduleDocument } | undefined {
  const stored = storedDefinition(schedule.definition)
  return stored === undefined ? undefined : { origin: stored.origin, document: stored.document as ScheduleDocument }
}

/** Makes those of the configuration what they are to be; what was in it before and is no longer goes. What is wrong would be a whole sentence. */
export async function scheduleCommands(store: JobStore, config: Config, now: EpochMillis): Promise<readonly JobCommand[] | string> {
  const known = new Map((await store.schedules()).map((schedule) => [schedule.name, schedule]))
  const commands: JobCommand[] = []
  const queues = config.queues.map((queue) => queue.name)
  for (const { name, document } of config.schedules) {
    const queue = config.queues.find((each) => each.name === document.queue)
    if (queue === undefined) return `schedule ${name} names the queue ${document.queue}, which does not exist`
    const schedule = newScheduleOf(name, document, queue, { config, now, origin: 'file', queues, before: known.get(name) })
    if ('wrong' in schedule) return `schedule ${name}: ${schedule.path}: ${schedule.wrong}`
    if (known.get(name)?.definition !== schedule.definition) commands.push({ kind: 'schedule', schedule })
    known.delete(name)
  }
  for (const schedule of known.values()) {
    if (documentOf(schedule)?.origin === 'file') commands.push({ kind: 'unschedule', name: schedule.name })
  }
  return commands
}

function printOf({ request, ...job }: NewJob): string {
  return hash(
    'sha256',
    JSON.stringify([job, request.method, request.target, request.headers, Buffer.from(request.body).toString('latin1')]),
  )
}
