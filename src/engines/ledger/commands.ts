/** The port's commands, one function for each kind: what is asked of the ledger by name instead of by lease. */
import { placeOf, type JobRecord } from '../../core/jobs/record.ts'
import type { CommandOutcome, JobStatus, NewNote, TaskState } from '../../ports/job-store.ts'
import { type Acts, isRefusal, type Refusal } from './acts.ts'
import type { PackedCommand } from './calls.ts'
import { NO_RULES, type QueueState } from './queue-state.ts'
import { sameSecret } from './same-secret.ts'
import type { Schedules } from './schedules.ts'
import type { QueueSettings } from './tables.ts'
import type { TaskOutcome, Tasks } from './tasks.ts'

export interface Parts {
  readonly acts: Acts
  readonly schedules: Schedules
  readonly tasks: Tasks
}

type Command<K extends PackedCommand['kind']> = Extract<PackedCommand, { kind: K }>

const DONE: CommandOutcome = { kind: 'done' }
const UNCHANGED: CommandOutcome = { kind: 'unchanged' }
const MISSING: CommandOutcome = { kind: 'missing' }

export function carryOut(parts: Parts, command: Exclude<PackedCommand, { kind: 'answer' }>): CommandOutcome {
  const { acts } = parts
  switch (command.kind) {
    case 'cancel':
    case 'progress':
    case 'redrive':
    case 'move':
    case 'followed':
    case 'forget':
      return onJob(acts, command)
    case 'configure':
    case 'drop':
    case 'pause':
    case 'resume':
    case 'release':
      return onQueue(parts, command)
    case 'schedule': {
      if (acts.book.queue(command.schedule.job.queue) === undefined) return MISSING
      const problem = parts.schedules.put(command.schedule, acts.context.now)
      return problem === undefined ? synced(acts, DONE) : { kind: 'refused', limit: 'schedule', detail: problem }
    }
    case 'unschedule':
      return parts.schedules.drop(command.name) ? synced(acts, DONE) : MISSING
    case 'note':
      writeNote(acts, command)
      return synced(acts, DONE)
    case 'begin':
      return begin(parts, command)
    case 'stop':
      return parts.tasks.stop(command.task, acts.context.now) ? synced(acts, DONE) : MISSING
  }
}

/** What the gateway notes is apart from what the ledger notes itself. */
export const NOTE = 'note/'

function writeNote(acts: Acts, { name, text }: NewNote): void {
  if (text === undefined) acts.tables.dropNote(NOTE + name)
  else acts.tables.putNote(NOTE + name, text)
}

function onJob(acts: Acts, command: Command<'cancel' | 'progress' | 'redrive' | 'move' | 'followed' | 'forget'>): CommandOutcome {
  const record = acts.find(command.id)
  if (record === undefined) return MISSING
  switch (command.kind) {
    case 'cancel':
      return cancel(acts, record, command.onlyUnbegun === true)
    case 'progress':
      return progress(acts, record, command)
    case 'redrive': {
      const { queue, delayMs, request, method = record.method } = command
      const edited = request === undefined ? undefined : { payload: request, method }
      return jobOutcome(acts, record, acts.redrive(record, { queue, afterMs: delayMs, request: edited }))
    }
    case 'move':
      return jobOutcome(acts, record, acts.move(record, command.queue))
    case 'followed': {
      const after = acts.followed(record, command)
      if (after === undefined) return { kind: 'unchanged', job: acts.book.view(record) }
      for (const note of command.notes ?? []) writeNote(acts, note)
      return { kind: 'done', job: acts.book.view(after) }
    }
    case 'forget':
      return acts.forget(record) ? DONE : { kind: 'unchanged', job: acts.book.view(record) }
  }
}

function jobOutcome(acts: Acts, before: JobRecord, after: JobRecord | Refusal | undefined): CommandOutcome {
  if (after === undefined) return { kind: 'unchanged', job: acts.book.view(before) }
  return isRefusal(after) ? { kind: 'refused', ...after } : { kind: 'done', job: acts.book.view(after) }
}

function cancel(acts: Acts, record: JobRecord, onlyUnbegun: boolean): CommandOutcome {
  // What was handed out before it was redriven may have had effects, whatever has happened since.
  const begun = record.counted > 0 || placeOf(record) === 'running' || (record.handOutsBefore ?? 0) > 0
  const changed = onlyUnbegun && begun ? undefined : acts.step(record, { kind: 'cancel', forgetKey: onlyUnbegun })
  if (changed === undefined) return { kind: 'unchanged', job: acts.book.view(record) }
  acts.mustSync = true
  acts.evictFor(changed)
  const job = acts.book.view(changed)
  const { lease } = record
  return lease === undefined
    ? { kind: 'done', job }
    : { kind: 'done', job, aborted: { id: job.id, fence: lease.fence, secret: lease.secret } }
}

function progress(acts: Acts, record: JobRecord, command: Command<'progress'>): CommandOutcome {
  if (record.lease === undefined || !sameSecret(record.lease.secret, command.secret)) return { kind: 'stale' }
  const changed = acts.step(record, { kind: 'progress', progress: command.progress })
  return changed === undefined ? { kind: 'stale' } : { kind: 'done', job: acts.book.view(changed) }
}

function onQueue(parts: Parts, command: Command<'configure' | 'drop' | 'pause' | 'resume' | 'release'>): CommandOutcome {
  const { acts } = parts
  const { book } = acts
  const queue = book.queue(command.queue)
  if (command.kind === 'configure') {
    const settings = settingsOf(command, queue)
    if (queue !== undefined && JSON.stringify(queue.rules) !== JSON.stringify(settings.rules)) book.wake(queue)
    book.configure(command.queue, settings)
    return synced(acts, DONE)
  }
  if (queue === undefined) return MISSING
  switch (command.kind) {
    case 'drop':
      return drop(parts, queue)
    case 'pause':
    case 'resume': {
      const paused = command.kind === 'pause'
      if (queue.settings.paused === paused) return UNCHANGED
      book.configure(queue.name, { ...queue.settings, paused })
      if (!paused) book.becameReady.add(queue.name)
      return synced(acts, DONE)
    }
    case 'release':
      return release(acts, queue, command.key)
  }
}

function settingsOf({ limits, rules, definition }: Command<'configure'>, known: QueueState | undefined): QueueSettings {
  const paused = known?.settings.paused ?? false
  return { limits, rules: rules ?? NO_RULES, paused, ...(definition !== undefined && { definition }) }
}

function drop({ acts, schedules, tasks }: Parts, queue: QueueState): CommandOutcome {
  const why =
    queue.unfinished + queue.ended > 0
      ? `it holds ${queue.unfinished} jobs that have not ended and ${queue.ended} that have`
      : schedules.uses(queue.name)
        ? 'a schedule fills it'
        : tasks.uses(queue.name)
          ? 'a task works on it'
          : undefined
  if (why !== undefined) return { kind: 'refused', limit: 'queue', detail: `Queue ${queue.name} cannot be dropped: ${why}` }
  acts.book.drop(queue)
  return synced(acts, DONE)
}

function release(acts: Acts, queue: QueueState, key: string): CommandOutcome {
  const holder = acts.tables.keyHolder(queue.id, key)
  const record = holder === undefined ? undefined : acts.book.indexed(holder)
  if (record === undefined) return MISSING
  if (record.blocksKey !== true) return { kind: 'unchanged', job: acts.book.view(record) }
  return { kind: 'done', job: acts.book.view(acts.release(record)) }
}

function begin({ acts, tasks }: Parts, { task }: Command<'begin'>): CommandOutcome {
  const { book } = acts
  if (book.queue(task.filter.queue) === undefined || (task.to !== undefined && book.queue(task.to) === undefined)) return MISSING
  const number = tasks.begin(task, acts.context.now, acts.lastSequence)
  if (typeof number === 'string') return { kind: 'refused', limit: 'tasks', detail: number }
  acts.mustSync = true
  return { kind: 'done', task: number }
}

/** One job of a task. */
export function applyTask(acts: Acts, task: TaskState, stored: JobRecord, tell: (record: JobRecord, was: JobStatus) => void): TaskOutcome {
  // What runs is known better than it is stored.
  const record = acts.book.get(stored.seq)
  // What ended since the task began was not there to be meant.
  if (record === undefined || (record.finishedAt ?? 0) > task.startedAt) return 'passed'
  if (task.kind === 'forget') return acts.forget(record) ? 'done' : 'passed'
  const after = changeFor(acts, task, record)
  if (after === undefined) return 'passed'
  if (isRefusal(after)) return 'refused'
  tell(after, record.status)
  return 'done'
}

function changeFor(acts: Acts, task: TaskState, record: JobRecord): JobRecord | Refusal | undefined {
  switch (task.kind) {
    case 'redrive':
      return acts.redrive(record, { queue: task.to })
    case 'move':
      return task.to === undefined ? undefined : acts.move(record, task.to)
    default: {
      // What runs is left to its server: a task ends what waits.
      const ended = placeOf(record) === 'running' ? undefined : acts.step(record, { kind: 'cancel', forgetKey: false })
      if (ended !== undefined) acts.mustSync = true
      return ended
    }
  }
}

function synced(acts: Acts, outcome: CommandOutcome): CommandOutcome {
  acts.mustSync = true
  return outcome
}
