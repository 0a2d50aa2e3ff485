/** The model's schedules and tasks: what a store does by itself, as naively as it can be said. */
import type { JobFilter, NewJob } from '../../src/ports/job-store.ts'
import { isEnded, type JobStoreModel, type ModelJob, type Now, type Told, told } from './job-store-model.ts'

export interface ModelSchedule {
  readonly name: string
  readonly everyMs: number
  readonly startAt: number
  readonly missed: 'skip' | 'once' | 'all'
  readonly spec: NewJob
  readonly paused: boolean
  /** In the order in which they were put. */
  readonly number: number
  nextAt: number
  lastAt: number
  made: number
  missedCount: number
  caughtUp: number
}

export interface ModelTask {
  readonly id: number
  readonly kind: 'redrive' | 'move' | 'forget' | 'cancel'
  readonly filter: JobFilter & { readonly queue: string }
  readonly to: string | undefined
  readonly perSecond: number | undefined
  readonly startedAt: number
  readonly last: number
  after: number
  done: number
  refused: number
  over: boolean
  tokens: { left: number; at: number } | undefined
}

const MISSED_AFTER_MS = 60_000
const CATCH_UP_MAX = 1000
const MADE_PER_TICK = 20
const DONE_PER_TICK = 200
const STEPS_PER_TICK = 2

export class ModelWorks {
  schedules: ModelSchedule[] = []
  tasks: ModelTask[] = []
  readonly #model: JobStoreModel
  #puts = 0
  /** Whose turn was the last. */
  #last = 0

  constructor(model: JobStoreModel) {
    this.#model = model
  }

  put(schedule: Pick<ModelSchedule, 'name' | 'everyMs' | 'startAt' | 'missed' | 'spec' | 'paused'>, now: Now): void {
    const known = this.schedules.find(({ name }) => name === schedule.name)
    const isSame = known?.everyMs === schedule.everyMs && known.startAt === schedule.startAt
    const goesOn = isSame && !(known.paused && !schedule.paused)
    this.#puts += 1
    const { nextAt = 0, lastAt = 0, made = 0, missedCount = 0, caughtUp = 0 } = known ?? {}
    const sinceStart = now.wall - schedule.startAt
    const begins = !isSame && sinceStart < schedule.everyMs && sinceStart <= MISSED_AFTER_MS
    const next = goesOn ? nextAt : dueAfter(schedule, begins ? Math.max(schedule.startAt - 1, lastAt) : now.wall - 1)
    this.schedules = this.schedules.filter((each) => each !== known)
    this.schedules.push({ ...schedule, number: this.#puts, nextAt: next, lastAt, made, missedCount, caughtUp })
  }

  drop(name: string): boolean {
    const before = this.schedules.length
    this.schedules = this.schedules.filter((each) => each.name !== name)
    return this.schedules.length < before
  }

  begin(task: Pick<ModelTask, 'id' | 'kind' | 'filter' | 'to' | 'perSecond' | 'last'>, now: Now): void {
    this.tasks.push({ ...task, startedAt: now.wall, after: 0, done: 0, refused: 0, over: false, tokens: undefined })
  }

  /** What is due. The jobs that it made, in their order; they are not in the model yet if `accept` says no. */
  runSchedules(now: Now, accept: (spec: NewJob) => boolean): void {
    for (let made = 0; made < MADE_PER_TICK; made++) {
      const due = this.schedules.filter(({ paused, nextAt }) => !paused && nextAt <= now.wall)
      const first = due.toSorted((a, b) => a.nextAt - b.nextAt || a.number - b.number)[0]
      if (first === undefined) return
      this.#isDue(first, now, accept)
    }
  }

  runTasks(now: Now): Told[] {
    const changed: Told[] = []
    const running = this.tasks.filter(({ over }) => !over)
    const inTurn = running.toSorted((a, b) => Number(a.id <= this.#last) - Number(b.id <= this.#last) || a.id - b.id)
    for (const task of inTurn.filter((each) => this.#mayGoOn(each, now)).slice(0, STEPS_PER_TICK)) {
      this.#last = task.id
      this.#step(task, now, changed)
    }
    return changed
  }

  /** Who was told how often he may is told anew. */
  reopen(): void {
    for (const task of this.tasks) task.tokens = undefined
    this.#last = 0
    // They are read back by name.
    this.schedules = this.schedules.toSorted((a, b) => (a.name < b.name ? -1 : 1)).map((each, at) => ({ ...each, number: at + 1 }))
    this.#puts = this.schedules.length
  }

  #isDue(schedule: ModelSchedule, now: Now, accept: (spec: NewJob) => boolean): void {
    const at = schedule.nextAt
    const isLate = now.wall - at > MISSED_AFTER_MS
    const missed = Math.floor((now.wall - at) / schedule.everyMs) + 1
    schedule.caughtUp = isLate ? schedule.caughtUp + 1 : 0
    if (isLate && (schedule.missed === 'skip' || (schedule.missed === 'all' && schedule.caughtUp > CATCH_UP_MAX))) {
      schedule.missedCount += missed
      schedule.caughtUp = 0
      schedule.nextAt = dueAfter(schedule, now.wall)
      return
    }
    const isOnce = isLate && schedule.missed === 'once'
    schedule.missedCount += isOnce ? missed - 1 : 0
    schedule.nextAt = dueAfter(schedule, isOnce ? now.wall : at)
    schedule.lastAt = at
    if (accept(schedule.spec)) schedule.made += 1
    else schedule.missedCount += 1
  }

  /** Its rate lets it do a job. */
  #mayGoOn(task: ModelTask, now: Now): boolean {
    const { perSecond } = task
    if (perSecond === undefined) return true
    const had = task.tokens ?? { left: 1, at: now.monotonic }
    const most = Math.max(1, perSecond)
    task.tokens = { left: Math.min(most, had.left + ((now.monotonic - had.at) * perSecond) / 1000), at: now.monotonic }
    return task.tokens.left + 1e-6 >= 1
  }

  #step(task: ModelTask, now: Now, changed: Told[]): void {
    let budget = Math.min(DONE_PER_TICK, task.tokens === undefined ? DONE_PER_TICK : Math.floor(task.tokens.left + 1e-6))
    for (const job of this.#model.jobs.filter(({ seq }) => seq > task.after && seq <= task.last)) {
      if (budget === 0) return
      if (this.#model.meets(job, task.filter)) {
        const outcome = this.#apply(task, job, now, changed)
        if (outcome === 'done') task.done += 1
        if (outcome === 'refused') task.refused += 1
        if (outcome !== 'unchanged') {
          budget -= 1
          if (task.tokens !== undefined) task.tokens.left -= 1
        }
      }
      task.after = job.seq
    }
    task.over = true
  }

  #apply(task: ModelTask, job: ModelJob, now: Now, changed: Told[]): 'done' | 'unchanged' | 'refused' {
    const { status } = job
    // What ended since was not there when it began.
    if (isEnded(job) && job.finishedAt > task.startedAt) return 'unchanged'
    const outcome = this.#change(task, job, now)
    if (job.status !== status && task.kind !== 'forget') changed.push(told(job))
    return outcome
  }

  #change({ kind, to }: ModelTask, job: ModelJob, now: Now): 'done' | 'unchanged' | 'refused' {
    switch (kind) {
      case 'redrive':
        return this.#model.redrive(job, to ?? job.queue, 0, now)
      case 'move':
        return to === undefined ? 'unchanged' : this.#model.move(job, to, now)
      case 'forget':
        return this.#model.forget(job)
      case 'cancel':
        return job.place === 'running' || this.#model.cancel(job.id, false, now) !== 'done' ? 'unchanged' : 'done'
    }
  }
}

function dueAfter({ everyMs, startAt }: { readonly everyMs: number; readonly startAt: number }, after: number): number {
  return after < startAt ? startAt : startAt + (Math.floor((after - startAt) / everyMs) + 1) * everyMs
}
