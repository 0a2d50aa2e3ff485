/** Schedules: what makes jobs by the clock. */
import { isName, readScheduleDocument } from '../../config/documents.ts'
import { type Failure, failure, isFailure } from '../../core/errors.ts'
import { wrongText } from '../../core/jobs/job-document.ts'
import { documentOf, newScheduleOf } from '../../jobs/schedules.ts'
import type { ScheduleState } from '../../ports/job-store.ts'
import { redactedJob, unredactedJob } from './bodies.ts'
import { inFile } from './define.ts'
import { timeText } from './job-view.ts'
import { type ApiParts, mayNot, noSuchQueue, queueFor, sendable } from './parts.ts'
import { type ApiRequest, contentKind, invalid, json, NO_CONTENT, NOBODY, type Outcome, readText } from './request.ts'
import { jobsOf } from './destination.ts'

export async function listSchedules(request: ApiRequest, parts: ApiParts): Promise<Outcome> {
  const all = await parts.jobs.queues.schedules()
  return json(200, { schedules: all.filter(({ queue }) => request.caller.may('browse', queue)).map(scheduleView) })
}

export async function showSchedule(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const schedule = await scheduleFor(request, parts, name, 'browse')
  return isFailure(schedule) ? schedule : json(200, scheduleView(schedule))
}

export async function putSchedule(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  if (!isName(name)) return invalid('A name is 1 to 64 letters, digits, "-", "_" or ".", and begins with a letter or digit.')
  const kind = contentKind(request, ['json'])
  if (typeof kind === 'object') return kind
  const body = await readText(request, parts.config.api.body, parts)
  if (body === undefined) return NOBODY
  if (isFailure(body)) return body
  body.free()
  const value = jobsOf(body.text)
  if (value === undefined) return invalid('The body is not valid JSON.')
  const read = readScheduleDocument(name, value, parts.config)
  if ('wrong' in read) return invalid(`${read.wrong}.`)
  const queue = queueFor(parts, request.caller, 'manage', read.value.queue)
  if (isFailure(queue)) return queue
  if (queue.origin === 'none') return noSuchQueue()
  const known = (await parts.jobs.queues.schedules()).find((each) => each.name === name)
  if (known !== undefined) {
    const refused = mayNot(request.caller, 'manage', known.queue)
    if (refused !== undefined) return failure('forbidden', 'There is a schedule of this name that the key may not change.')
    if (documentOf(known)?.origin === 'file') return inFile('schedule')
  }
  const before = known === undefined ? undefined : documentOf(known)?.document.job
  const document = before === undefined ? read.value : { ...read.value, job: unredactedJob(read.value.job, before) }
  const schedule = newScheduleOf(name, document, queue.config, {
    config: parts.config,
    now: parts.clock.now(),
    origin: 'api',
    queues: sendable(parts, request.caller),
    before: known,
  })
  if ('wrong' in schedule) return invalid(`${wrongText('', schedule)}.`)
  const outcome = await parts.jobs.queues.command({ kind: 'schedule', schedule })
  if (outcome.kind === 'refused') return invalid(`${outcome.detail}.`)
  const made = (await parts.jobs.queues.schedules()).find((each) => each.name === name)
  return json(known === undefined ? 201 : 200, made === undefined ? { name } : scheduleView(made))
}

export async function dropSchedule(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const schedule = await scheduleFor(request, parts, name, 'manage')
  if (isFailure(schedule)) return schedule
  if (documentOf(schedule)?.origin === 'file') return inFile('schedule')
  await parts.jobs.queues.command({ kind: 'unschedule', name })
  return NO_CONTENT
}

async function scheduleFor(
  request: ApiRequest,
  parts: ApiParts,
  name: string,
  right: 'browse' | 'manage',
): Promise<ScheduleState | Failure> {
  const missing = failure('no_such_schedule', 'There is no schedule of this name.')
  const schedule = (await parts.jobs.queues.schedules()).find((each) => each.name === name)
  if (schedule === undefined) return missing
  const refused = mayNot(request.caller, right, schedule.queue)
  if (refused === undefined) return schedule
  return refused.code === 'no_such_queue' ? missing : refused
}

function scheduleView(schedule: ScheduleState): Record<string, unknown> {
  const stored = documentOf(schedule)
  const { name, queue, paused, missed, made, missedCount, lastProblem, nextAt, lastAt, lastJob } = schedule
  const when = 'cron' in schedule.when ? schedule.when : { everyMs: schedule.when.everyMs }
  return {
    name,
    definedIn: stored?.origin ?? 'api',
    queue,
    ...when,
    ...(stored?.document.every === undefined ? {} : { every: stored.document.every }),
    missed,
    paused,
    nextAt: timeText(nextAt),
    lastAt: timeText(lastAt),
    lastJob,
    made,
    missedCount,
    lastProblem,
    job: stored === undefined ? undefined : redactedJob(stored.document.job as Readonly<Record<string, unknown>>),
  }
}
