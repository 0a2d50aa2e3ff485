/** What the queue API tells of jobs, queues and tasks, as the commands use it. A gateway of another version may tell less or more: nothing here fails for that. */
import { JOB_STATUSES, type JobStatus } from '../core/jobs/record.ts'
import { isMapping } from '../lib/mapping.ts'
import type { Bytes, EpochMillis, Millis } from '../lib/units.ts'
import type { AttemptRecord, JobId } from '../ports/job-store.ts'

export interface JobFacts {
  readonly id: JobId
  readonly queue: string
  readonly status: JobStatus
  readonly key?: string
  readonly tenant?: string
  readonly priority: number
  readonly reference?: string
  readonly attempt: number
  readonly attempts: number
  readonly handOuts: number
  readonly redrives: number
  readonly submittedAt: EpochMillis
  readonly notBefore?: EpochMillis
  readonly expiresAt?: EpochMillis
  readonly deadlineAt?: EpochMillis
  readonly startedAt?: EpochMillis
  readonly finishedAt?: EpochMillis
  /** When the hand-out that runs began; absent where it is not told. */
  readonly attemptAt?: EpochMillis
  /** Its server goes on without an attempt that is open, and reports the end by then. */
  readonly deferredUntil?: EpochMillis
  readonly blockedBy?: JobId
  readonly position?: number
  readonly server?: string
  readonly progress?: unknown
  readonly error?: { readonly code: string; readonly detail?: string; readonly status?: number }
  readonly dead?: string
  readonly blocksKey: boolean
  readonly method?: string
  readonly route?: string
  readonly requestBytes?: Bytes
  readonly resultBytes?: Bytes
  readonly parent?: JobId
  /** What was made of its result, or why nothing was. */
  readonly next?: { readonly id: JobId } | { readonly detail: string }
  /** Of which it is one, and its place there, from 0. */
  readonly batch?: { readonly id: JobId; readonly index: number }
}

export interface RateFacts {
  readonly count: number
  readonly perMs: Millis
}

export interface QueueFacts {
  readonly name: string
  /** Absent: pull consumers only. */
  readonly pool?: string
  readonly paused: boolean
  readonly counts: Readonly<Record<string, number>>
  readonly scheduled: number
  readonly bytes: Bytes
  readonly oldestWaitingMs?: Millis
  readonly dead: Readonly<Record<string, number>>
  readonly blockedKeys: number
  readonly timeoutMs?: Millis
  /** On each server; from the status document. */
  readonly concurrency?: number
  readonly drainPerSecond?: number
  readonly definedIn: string
  readonly limits: Readonly<Record<string, number | undefined>>
  readonly buckets: Readonly<Record<string, number>>
  readonly rules: {
    readonly onFailure?: string
    readonly maxRunning?: number
    readonly tenantMaxRunning?: number
    readonly rate?: RateFacts
    readonly keyRate?: RateFacts
  }
}

export interface TaskFacts {
  readonly id: number
  readonly kind: string
  readonly done: number
  readonly refused: number
  readonly stopped: boolean
  readonly endedAt?: EpochMillis
}

type Document = Readonly<Record<string, unknown>>

/** Undefined: it is no job. */
export function jobFacts(value: unknown): JobFacts | undefined {
  if (!isMapping(value) || typeof value['id'] !== 'string') return undefined
  const status = JOB_STATUSES.find((each) => each === value['status'])
  if (status === undefined) return undefined
  const texts = pick(value, ['key', 'tenant', 'reference', 'blockedBy', 'server', 'dead', 'method', 'route', 'parent'], textOf)
  const times = pick(value, ['notBefore', 'deferredUntil', 'expiresAt', 'deadlineAt', 'startedAt', 'finishedAt'], timeOf)
  const numbers = pick(value, ['position', 'requestBytes', 'resultBytes'], numberOf)
  const handOuts = numberOf(value['handOuts']) ?? 0
  // The hand-out that runs is told of only where it is the first.
  const attemptAt = status === 'running' && handOuts === 1 ? times.startedAt : undefined
  return {
    id: value['id'],
    queue: textOf(value['queue']) ?? '',
    status,
    priority: numberOf(value['priority']) ?? 0,
    attempt: numberOf(value['attempt']) ?? 0,
    attempts: numberOf(value['attempts']) ?? 0,
    handOuts,
    redrives: numberOf(value['redrives']) ?? 0,
    submittedAt: timeOf(value['submittedAt']) ?? 0,
    blocksKey: value['blocksKey'] === true,
    ...texts,
    ...times,
    ...numbers,
    ...(attemptAt !== undefined && { attemptAt }),
    ...(value['progress'] !== undefined && { progress: value['progress'] }),
    ...errorOf(value['error']),
    ...nextOf(value['next']),
    ...batchOf(value['batch']),
  }
}

function errorOf(value: unknown): Pick<JobFacts, 'error'> {
  if (!isMapping(value) || typeof value['code'] !== 'string') return {}
  const [detail, status] = [textOf(value['detail']), numberOf(value['serverStatus'])]
  return { error: { code: value['code'], ...(detail !== undefined && { detail }), ...(status !== undefined && { status }) } }
}

function nextOf(value: unknown): Pick<JobFacts, 'next'> {
  if (!isMapping(value)) return {}
  if (typeof value['id'] === 'string') return { next: { id: value['id'] } }
  const { error } = errorOf(value['error'])
  return error === undefined ? {} : { next: { detail: error.detail ?? error.code } }
}

function batchOf(value: unknown): Pick<JobFacts, 'batch'> {
  if (!isMapping(value)) return {}
  const { id, index } = value
  return typeof id === 'string' && typeof index === 'number' ? { batch: { id, index } } : {}
}

export function historyFacts(value: unknown): readonly AttemptRecord[] {
  const list: unknown = isMapping(value) ? value['history'] : undefined
  if (!Array.isArray(list)) return []
  return list.filter(isMapping).map((entry) => ({
    handOut: numberOf(entry['handOut']) ?? 0,
    startedAt: timeOf(entry['startedAt']) ?? 0,
    endedAt: timeOf(entry['endedAt']) ?? 0,
    outcome: textOf(entry['outcome']) ?? '',
    ...pick(entry, ['attempt', 'status'], numberOf),
    ...pick(entry, ['server', 'detail'], textOf),
  }))
}

export function queueFacts(value: unknown): QueueFacts | undefined {
  if (!isMapping(value) || typeof value['name'] !== 'string') return undefined
  const counts = (name: string): Readonly<Record<string, number>> => (isMapping(value[name]) ? (value[name] as Record<string, number>) : {})
  const drainPerSecond = numberOf(value['endedPerSecond'])
  return {
    name: value['name'],
    paused: value['paused'] === true,
    counts: counts('counts'),
    scheduled: numberOf(value['scheduled']) ?? 0,
    bytes: numberOf(value['bytes']) ?? 0,
    dead: counts('dead'),
    blockedKeys: numberOf(value['blockedKeys']) ?? 0,
    definedIn: textOf(value['definedIn']) ?? '',
    limits: counts('limits'),
    buckets: counts('buckets'),
    rules: isMapping(value['rules']) ? value['rules'] : {},
    ...pick(value, ['pool'], textOf),
    ...pick(value, ['oldestWaitingMs', 'timeoutMs', 'concurrency'], numberOf),
    ...(drainPerSecond !== undefined && { drainPerSecond }),
  }
}

export function taskFacts(value: unknown): TaskFacts | undefined {
  if (!isMapping(value) || typeof value['id'] !== 'number') return undefined
  return {
    id: value['id'],
    kind: textOf(value['kind']) ?? 'task',
    done: numberOf(value['done']) ?? 0,
    refused: numberOf(value['refused']) ?? 0,
    stopped: value['stopped'] === true,
    ...pick(value, ['endedAt'], timeOf),
  }
}

/** The entries of a list in a document, as far as they can be read. */
export function listOf<T>(document: unknown, name: string, read: (value: unknown) => T | undefined): readonly T[] {
  const list: unknown = isMapping(document) ? document[name] : undefined
  return Array.isArray(list) ? list.map(read).filter((entry) => entry !== undefined) : []
}

function pick<K extends string, T>(document: Document, names: readonly K[], read: (value: unknown) => T | undefined): { [P in K]?: T } {
  const picked: { [P in K]?: T } = {}
  for (const name of names) {
    const value = read(document[name])
    if (value !== undefined) picked[name] = value
  }
  return picked
}

export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

export function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}

/** RFC 3339. */
export function timeOf(value: unknown): EpochMillis | undefined {
  const at = typeof value === 'string' ? Date.parse(value) : Number.NaN
  return Number.isNaN(at) ? undefined : at
}
