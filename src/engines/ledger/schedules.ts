/**
 * Recurring jobs: what is due next, and what became due while nobody looked. A due time and the job that it makes are one commit, so
 * each makes exactly one, also when the process dies in between. Kept as notes, of which this is a copy in memory.
 */
import { type CronTimes, readCron } from '../../lib/cron.ts'
import { OrderedSet } from '../../lib/ordered-set.ts'
import type { Bytes, EpochMillis, Millis } from '../../lib/units.ts'
import type { ScheduleState } from '../../ports/job-store.ts'
import type { StoreLimits } from '../../ports/job-store.ts'
import type { PackedJob, PackedSchedule } from './calls.ts'
import type { Payload, Tables } from './tables.ts'

/** In one step of the clockwork. */
export const SCHEDULED_JOBS_PER_TICK = 20
/** Later than this, a due time was missed. */
export const MISSED_AFTER_MS: Millis = 60_000
/** Missed due times that are made up for, at most. */
export const CATCH_UP_MAX = 1000
/** Missed due times are counted up to this. */
const COUNT_MAX = 10_000
export const SCHEDULE_NOTE = 'schedule/'
const DEFINITION = SCHEDULE_NOTE
const STATE = 'schedule-state/'

type ScheduleLimits = Pick<StoreLimits, 'schedules' | 'scheduleBytes'>

interface State {
  readonly nextAt?: EpochMillis
  readonly lastAt?: EpochMillis
  readonly lastJob?: string
  readonly made: number
  readonly missedCount: number
  readonly lastProblem?: string
  /** Missed due times in a row that were made up for. */
  readonly caughtUp: number
}

interface Entry {
  readonly number: number
  readonly schedule: PackedSchedule
  /** Of its definition as it is kept. */
  readonly bytes: Bytes
  state: State
}

/** The id of the job, or why there is none. */
export type MadeJob = { readonly id: string } | { readonly problem: string }

const NOTHING_YET: State = { made: 0, missedCount: 0, caughtUp: 0 }

export class Schedules {
  readonly #tables: Tables
  readonly #limits: ScheduleLimits
  #entries = new Map<string, Entry>()
  #byNumber = new Map<number, Entry>()
  #due = new OrderedSet()
  #lastNumber = 0
  /** Of all definitions. */
  #bytes: Bytes = 0

  constructor(tables: Tables, limits: ScheduleLimits) {
    this.#tables = tables
    this.#limits = limits
    this.reload()
  }

  /** When it was opened, and after a rollback. */
  reload(): void {
    this.#entries = new Map()
    this.#byNumber = new Map()
    this.#due = new OrderedSet()
    this.#bytes = 0
    const states = new Map(this.#tables.notes(STATE).map(({ name, text }) => [name.slice(STATE.length), text]))
    for (const { name, text } of this.#tables.notes(DEFINITION)) {
      const state = states.get(name.slice(DEFINITION.length))
      this.#enter(decode(text), text.length, state === undefined ? NOTHING_YET : (JSON.parse(state) as State))
    }
  }

  /** Why it cannot be; undefined: it is. One that is due at the same times as before goes on where it was. */
  put(schedule: PackedSchedule, now: EpochMillis): string | undefined {
    const wrong = 'cron' in schedule.when ? readTimes(schedule.when) : undefined
    if (wrong !== undefined && 'wrong' in wrong) return wrong.wrong
    const known = this.#entries.get(schedule.name)
    const { schedules, scheduleBytes } = this.#limits
    if (known === undefined && this.#entries.size >= schedules)
      return `there are ${schedules} schedules, as many as there may be (limits.schedules)`
    const text = encode(schedule)
    if (this.#bytes - (known?.bytes ?? 0) + text.length > scheduleBytes)
      return `all schedules together would have more than ${scheduleBytes} bytes (limits.scheduleBytes)`
    const goesOn = known !== undefined && JSON.stringify(known.schedule.when) === JSON.stringify(schedule.when)
    const resumed = goesOn && known.schedule.paused && !schedule.paused
    const before = known?.state ?? NOTHING_YET
    const first = goesOn ? nextOf(schedule, now - 1) : firstOf(schedule, now, before.lastAt)
    const state = goesOn && !resumed ? before : { ...before, ...first }
    this.#forget(schedule.name)
    this.#enter(schedule, text.length, state)
    this.#tables.putNote(DEFINITION + schedule.name, text)
    this.#tables.putNote(STATE + schedule.name, JSON.stringify(state))
    return undefined
  }

  drop(name: string): boolean {
    if (!this.#entries.has(name)) return false
    this.#forget(name)
    this.#tables.dropNote(DEFINITION + name)
    this.#tables.dropNote(STATE + name)
    return true
  }

  uses(queue: string): boolean {
    return [...this.#entries.values()].some(({ schedule }) => schedule.job.queue === queue)
  }

  list(): readonly ScheduleState[] {
    return [...this.#entries.values()]
      .map(({ schedule: { job, ...rest }, state: { caughtUp: _, ...state } }) => ({ ...rest, queue: job.queue, ...state }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** Makes what is due, some of it. Says how long until there is more to do. */
  run(now: EpochMillis, make: (job: PackedJob) => MadeJob): Millis | undefined {
    for (let done = 0; ; done++) {
      const at = this.#due.firstRank()
      if (at === undefined) return undefined
      if (at > now) return at - now
      if (done === SCHEDULED_JOBS_PER_TICK) return 0
      const entry = this.#byNumber.get(this.#due.first() ?? 0) as Entry
      entry.state = afterDue(entry, at, now, make)
      this.#tables.putNote(STATE + entry.schedule.name, JSON.stringify(entry.state))
      this.#plan(entry)
    }
  }

  #enter(schedule: PackedSchedule, bytes: Bytes, state: State): void {
    this.#lastNumber += 1
    this.#bytes += bytes
    const entry: Entry = { number: this.#lastNumber, schedule, bytes, state }
    this.#entries.set(schedule.name, entry)
    this.#byNumber.set(entry.number, entry)
    this.#plan(entry)
  }

  #forget(name: string): void {
    const entry = this.#entries.get(name)
    if (entry === undefined) return
    this.#bytes -= entry.bytes
    this.#entries.delete(name)
    this.#byNumber.delete(entry.number)
    this.#due.delete(entry.number)
  }

  #plan({ number, schedule, state }: Entry): void {
    if (state.nextAt === undefined || schedule.paused) this.#due.delete(number)
    else this.#due.add(number, state.nextAt)
  }
}

/** One due time is over: made into a job, or left out. */
function afterDue({ schedule, state }: Entry, at: EpochMillis, now: EpochMillis, make: (job: PackedJob) => MadeJob): State {
  const { missed } = schedule
  const late = now - at > MISSED_AFTER_MS
  const { nextAt: _, lastProblem: __, ...rest } = state
  const caughtUp = late ? state.caughtUp + 1 : 0
  if (late && (missed === 'skip' || (missed === 'all' && caughtUp > CATCH_UP_MAX))) {
    const left = state.missedCount + countDue(schedule, at, now)
    return { ...rest, missedCount: left, caughtUp: 0, lastProblem: 'missed: no gateway was running', ...nextOf(schedule, now) }
  }
  const made = make(schedule.job)
  const once = late && missed === 'once'
  const more = {
    lastAt: at,
    caughtUp,
    missedCount: state.missedCount + (once ? countDue(schedule, at, now) - 1 : 0) + ('problem' in made ? 1 : 0),
    ...nextOf(schedule, once ? now : at),
  }
  if ('problem' in made) return { ...rest, ...more, lastProblem: made.problem }
  return { ...rest, ...more, made: state.made + 1, lastJob: made.id }
}

function countDue(schedule: PackedSchedule, from: EpochMillis, now: EpochMillis): number {
  let count = 0
  for (let at: EpochMillis | undefined = from; at !== undefined && at <= now && count < COUNT_MAX; count++) at = nextTime(schedule, at)
  return count
}

/** A period that begins now begins now, also by a clock that is a little ahead of the one that said so; but no due time comes twice. */
function firstOf(schedule: PackedSchedule, now: EpochMillis, lastAt: EpochMillis = 0): { readonly nextAt?: EpochMillis } {
  const { when } = schedule
  const begins = 'everyMs' in when && now - when.startAt < when.everyMs && now - when.startAt <= MISSED_AFTER_MS
  return nextOf(schedule, begins ? Math.max(when.startAt - 1, lastAt) : now - 1)
}

function nextOf(schedule: PackedSchedule, after: EpochMillis): { readonly nextAt?: EpochMillis } {
  const nextAt = nextTime(schedule, after)
  return nextAt === undefined ? {} : { nextAt }
}

function nextTime({ when }: PackedSchedule, after: EpochMillis): EpochMillis | undefined {
  if (!('cron' in when)) {
    const { everyMs, startAt } = when
    return after < startAt ? startAt : startAt + (Math.floor((after - startAt) / everyMs) + 1) * everyMs
  }
  const times = readTimes(when)
  return 'times' in times ? times.times.next(after) : undefined
}

/** Reading an expression costs more than asking it. */
const known = new Map<string, CronTimes>()
const KNOWN_MAX = 1000

function readTimes({ cron, timeZone }: { readonly cron: string; readonly timeZone: string }): ReturnType<typeof readCron> {
  const name = `${timeZone} ${cron}`
  const times = known.get(name)
  if (times !== undefined) return { times }
  const read = readCron(cron, timeZone)
  if ('times' in read) {
    if (known.size >= KNOWN_MAX) known.clear()
    known.set(name, read.times)
  }
  return read
}

function encode(schedule: PackedSchedule): string {
  const { request, ...job } = schedule.job
  const text = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')
  return JSON.stringify({ ...schedule, job: { ...job, request: { head: text(request.head), body: text(request.body) } } })
}

function decode(text: string): PackedSchedule {
  const schedule = JSON.parse(text) as PackedSchedule & {
    readonly job: { readonly request: { readonly head: string; readonly body: string } }
  }
  const { head, body } = schedule.job.request
  const request: Payload = { head: Buffer.from(head, 'base64'), body: Buffer.from(body, 'base64') }
  return { ...schedule, job: { ...schedule.job, request } }
}

/** A schedule as it is kept, with another request. */
export function rewriteRequest(text: string, rewrite: (request: Payload) => Payload): string {
  const schedule = decode(text)
  return encode({ ...schedule, job: { ...schedule.job, request: rewrite(schedule.job.request) } })
}
