/** What the naive model of a store knows of a job and of a queue. */
import type { LeaseRef, NewJob, QueueRules } from '../../src/ports/job-store.ts'

export interface ModelJob {
  id: string
  spec: NewJob
  queue: string
  /** Its place in the order of acceptance; where priorities age, its age. */
  seq: number
  bucket: number
  body: string
  readonly submittedAt: number
  expiresAt: number
  deadlineAt: number
  status: string
  /** ready: can be handed out; behind: its key is held by another; time: waits for it. */
  place: 'ready' | 'behind' | 'time' | 'running' | 'ended'
  waitsUntil: number
  /** Its key rests until then; 0: does not. */
  restsUntil: number
  counted: number
  /** Since it was accepted or redriven; ever; and of these, those from which on it holds its key. */
  handOuts: number
  handOutsEver: number
  holdsAfter: number
  lease: ModelLease | undefined
  /** The lease that reported the end. */
  reportedBy: LeaseRef | undefined
  dead: string | undefined
  error: string | undefined
  answer: string | undefined
  finishedAt: number
  blocksKey: boolean
  /** Something is still to follow from its end. */
  due: boolean
  redrives: number
  /** Outcome, and number of the attempt if it was one, of each hand-out that is over. */
  story: (readonly [string, number | undefined])[]
}

export interface ModelLease {
  readonly ref: LeaseRef
  until: number
  /** It outlives its process by so much. */
  keptMs: number | undefined
  /** Its server has deferred the end: until then, by the clock on the wall. */
  deferred?: { until: number; readonly retryMs: number }
}

export interface ModelQueue {
  readonly name: string
  jobs: number
  age: number | undefined
  rules: QueueRules
  paused: boolean
  /** What old jobs have saved up: at 1 one of them goes before fresher ones. */
  oldCredit: number
  /** Who has ready jobs, in the order of their turns. */
  turns: string[]
  tokens: Tokens
  keyTokens: Map<string, Tokens>
}

export interface Tokens {
  left: number
  at: number
}

export interface Now {
  readonly wall: number
  readonly monotonic: number
}
