/**
 * What a store's client asks of the ledger: the port's methods with requests and answers already encoded, so that a storage
 * keeps and moves them as bytes and never looks inside.
 */
import type {
  CommandOutcome,
  JobCommand,
  JobError,
  LeaseOutcome,
  LeaseRef,
  LeaseRequest,
  NewJob,
  QueueStats,
  SettleOutcome,
  StoredJob,
  Submitted,
  Tick,
} from '../../ports/job-store.ts'
import type { Millis } from '../../lib/units.ts'
import type { Payload } from './tables.ts'

export interface PackedJob extends Omit<NewJob, 'request'> {
  readonly method: string
  readonly request: Payload
}

export type PackedSettlement =
  | { readonly kind: 'succeed'; readonly lease: LeaseRef; readonly answer: Payload }
  | { readonly kind: 'retry'; readonly lease: LeaseRef; readonly afterMs: Millis; readonly error: JobError; readonly answer?: Payload }
  | { readonly kind: 'handBack'; readonly lease: LeaseRef; readonly afterMs: Millis; readonly error?: JobError; readonly answer?: Payload }
  | { readonly kind: 'fail'; readonly lease: LeaseRef; readonly error: JobError; readonly answer?: Payload; readonly deadLetter: boolean }

export interface PackedLease {
  readonly ref: LeaseRef
  readonly job: StoredJob
  readonly request: Payload
  readonly stolen: boolean
}

export interface PackedRead {
  readonly job: StoredJob
  readonly answer?: Payload
}

export type Call =
  | { readonly kind: 'submit'; readonly jobs: readonly PackedJob[] }
  | { readonly kind: 'lease'; readonly requests: readonly LeaseRequest[] }
  | { readonly kind: 'extend'; readonly leases: readonly LeaseRef[]; readonly forMs: Millis }
  | { readonly kind: 'settle'; readonly settlements: readonly PackedSettlement[] }
  | { readonly kind: 'command'; readonly commands: readonly JobCommand[] }
  | { readonly kind: 'read'; readonly ids: readonly string[]; readonly want: 'status' | 'result' }
  | { readonly kind: 'tick' }
  | { readonly kind: 'stats' }

export type CallKind = Call['kind']
export type CallOf<K extends CallKind> = Extract<Call, { kind: K }>

export interface ReplyByKind {
  readonly submit: readonly Submitted[]
  readonly lease: readonly (readonly PackedLease[])[]
  readonly extend: readonly LeaseOutcome[]
  readonly settle: readonly SettleOutcome[]
  readonly command: readonly CommandOutcome[]
  readonly read: readonly (PackedRead | undefined)[]
  readonly tick: Tick
  readonly stats: readonly QueueStats[]
}
