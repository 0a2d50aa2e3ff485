/**
 * Work on many jobs, in steps so small that nobody waits for them: redrive, move, cancel or forget all that a filter means. How far each
 * is, is kept with what it did in one commit, so that it goes on after a restart where it was and does nothing twice.
 */
import { refilled, type TokenBucket, waitFor } from '../../core/jobs/rate.ts'
import type { JobRecord } from '../../core/jobs/record.ts'
import type { Rate } from '../../lib/rate.ts'
import type { EpochMillis, Millis, MonotonicMillis } from '../../lib/units.ts'
import type { NewTask, TaskState } from '../../ports/job-store.ts'
import { meets, nextPage } from './browse.ts'
import type { Tables } from './tables.ts'

/** Jobs of one task in one step. */
const PER_STEP = 200
/** In one run: each looks at a thousand jobs, and everybody else waits meanwhile. */
const STEPS_PER_RUN = 2
/** Tasks that have ended are remembered, so many of them. */
const ENDED_MAX = 50
const NAME = 'task/'

interface Task extends TaskState {
  /** Looked at; and the last job that there was when it began. */
  readonly after: number
  readonly last: number
}

export type TaskOutcome = 'done' | 'refused' | 'passed'

export class Tasks {
  readonly #tables: Tables
  /** Under way at once. */
  readonly #max: number
  #tasks = new Map<number, Task>()
  readonly #rates = new Map<number, TokenBucket>()
  /** Whose turn was the last. */
  #last = 0

  constructor(tables: Tables, max: number) {
    this.#tables = tables
    this.#max = max
    this.reload()
  }

  /** When it was opened, and after a rollback. */
  reload(): void {
    const tasks = this.#tables.notes(NAME).map(({ text }) => JSON.parse(text) as Task)
    this.#tasks = new Map(tasks.sort((a, b) => a.id - b.id).map((task) => [task.id, task]))
  }

  /** Its number, or why it cannot begin. */
  begin(task: NewTask, now: EpochMillis, last: number): number | string {
    if (this.#running().length >= this.#max) return `${this.#max} tasks are under way, as many as there may be (limits.tasks)`
    const id = Math.max(0, ...this.#tasks.keys()) + 1
    this.#save({ ...task, id, startedAt: now, done: 0, refused: 0, stopped: false, after: 0, last })
    return id
  }

  /** False: there is none, or it is over. */
  stop(id: number, now: EpochMillis): boolean {
    const task = this.#tasks.get(id)
    if (task === undefined || task.endedAt !== undefined) return false
    this.#save({ ...task, stopped: true, endedAt: now })
    return true
  }

  uses(queue: string): boolean {
    return this.#running().some(({ filter, to }) => filter.queue === queue || to === queue)
  }

  list(): readonly TaskState[] {
    return [...this.#tasks.values()].map(({ after: _, last: __, ...state }) => state)
  }

  /** A step of some, in turn. Says how long until there is more to do. */
  run(
    moment: { readonly now: EpochMillis; readonly monotonic: MonotonicMillis },
    apply: (task: TaskState, record: JobRecord) => TaskOutcome,
  ): Millis | undefined {
    const waits: Millis[] = []
    let steps = 0
    for (const task of this.#inTurn()) {
      const waitMs = this.#waitOf(task, moment.monotonic)
      if (waitMs > 0) {
        waits.push(waitMs)
        continue
      }
      if (steps === STEPS_PER_RUN) return 0
      steps += 1
      this.#last = task.id
      const again = this.#step(task, moment, apply)
      if (again !== undefined) waits.push(again)
    }
    return waits.length === 0 ? undefined : Math.min(...waits)
  }

  /** Those that run, whoever comes after the last one first. */
  #inTurn(): readonly Task[] {
    const running = this.#running()
    return [...running.filter(({ id }) => id > this.#last), ...running.filter(({ id }) => id <= this.#last)]
  }

  /** Until its rate lets it do the next job. */
  #waitOf(task: Task, now: MonotonicMillis): Millis {
    const rate = rateOf(task)
    const bucket = this.#rates.get(task.id)
    return rate === undefined || bucket === undefined ? 0 : waitFor(refilled(bucket, rate, now), rate)
  }

  #step(
    task: Task,
    { now, monotonic }: { now: EpochMillis; monotonic: MonotonicMillis },
    apply: (task: TaskState, record: JobRecord) => TaskOutcome,
  ): Millis | undefined {
    const rate = rateOf(task)
    let bucket = rate === undefined ? undefined : refilled(this.#rates.get(task.id) ?? { tokens: 1, at: monotonic }, rate, monotonic)
    const budget = Math.min(PER_STEP, bucket === undefined ? PER_STEP : Math.floor(bucket.tokens + 1e-9))
    const page = nextPage(this.#tables, { filter: task.filter, after: task.after, newestFirst: false })
    let { after, done, refused } = task
    let used = 0
    for (const record of page.records) {
      if (record.seq > task.last || used === budget) break
      if (meets(task.filter, record)) {
        const outcome = apply(task, record)
        if (outcome === 'done') done += 1
        if (outcome === 'refused') refused += 1
        if (outcome !== 'passed') used += 1
      }
      after = record.seq
    }
    const cut = used === budget && page.records.some(({ seq }) => seq > after && seq <= task.last)
    if (!cut && page.last !== undefined) after = Math.max(after, page.last)
    const over = !cut && (page.last === undefined || after >= task.last)
    if (bucket !== undefined) this.#rates.set(task.id, { tokens: bucket.tokens - used, at: monotonic })
    if (over) this.#rates.delete(task.id)
    this.#save({ ...task, after, done, refused, ...(over && { endedAt: now }) })
    if (over) return undefined
    bucket = this.#rates.get(task.id)
    return bucket === undefined || rate === undefined || !cut ? 0 : waitFor(bucket, rate)
  }

  #running(): readonly Task[] {
    return [...this.#tasks.values()].filter(({ endedAt }) => endedAt === undefined)
  }

  #save(task: Task): void {
    this.#tasks.set(task.id, task)
    this.#tables.putNote(NAME + task.id, JSON.stringify(task))
    if (task.endedAt === undefined) return
    const ended = [...this.#tasks.values()].filter(({ endedAt }) => endedAt !== undefined)
    for (const { id } of ended.slice(0, Math.max(0, ended.length - ENDED_MAX))) {
      this.#tasks.delete(id)
      this.#tables.dropNote(NAME + id)
    }
  }
}

/** A bucket that holds at least one token, also where less than one comes each second. */
function rateOf({ perSecond }: TaskState): Rate | undefined {
  if (perSecond === undefined) return undefined
  const count = Math.max(1, perSecond)
  return { count, perMs: (1000 * count) / perSecond }
}
