/**
 * What a store's client asks of the ledger: the port's methods with requests and answers already encoded, so that a storage
 * keeps and moves them as bytes and never looks inside.
 */
import type {
  AttemptRecord,
  BrowsePage,
  BrowseRequest,
  CommandOutcome,
  Deferral,
  Ending,
  JobCommand,
  KeyRef,
  KeysRequest,
  KeyState,
  LeaseOutcome,
  LeaseRef,
  LeaseRequest,
  NewJob,
  NewNote,
  NewSchedule,
  OutboxPlace,
  QueueStats,
  ReadWant,
  ScheduleState,
  SettleOutcome,
  StoredJob,
  StoreInfo,
  Submitted,
  SubmittedWhole,
  TaskState,
  Tick,
} from '../../ports/job-store.ts'
import type { Bytes, Millis } from '../../lib/units.ts'
import type { Payload } from './tables.ts'

export interface PackedJob extends Omit<NewJob, 'request'> {
  readonly method: string
  readonly request: Payload
}

export type PackedSettlement = Deferral | PackedEnding

/** Each kind with its answer encoded. `blobBytes`: so many of the body lie in the blob of the attempt. */
export type PackedEnding = Ending extends infer E
  ? E extends Ending
    ? { readonly [K in keyof E]: K extends 'answer' ? Payload : E[K] } & (E extends { readonly kind: 'succeed' }
        ? { readonly blobBytes?: Bytes }
        : unknown)
    : never
  : never

export interface PackedLease {
  readonly ref: LeaseRef
  readonly job: StoredJob
  readonly request: Payload
  readonly stolen: boolean
}

export interface PackedRead {
  readonly job: StoredJob
  readonly answer?: Payload
  readonly request?: Payload
  readonly history?: readonly AttemptRecord[]
}

/** Commands without requests are the port's own. */
export type PackedCommand =
  | Exclude<JobCommand, { kind: 'redrive' | 'schedule' }>
  | (Omit<Extract<JobCommand, { kind: 'redrive' }>, 'request'> & { readonly request?: Payload; readonly method?: string })
  | { readonly kind: 'schedule'; readonly schedule: PackedSchedule }

export interface PackedSchedule extends Omit<NewSchedule, 'job'> {
  readonly job: PackedJob
}

/** What the ledger knows of its store, and what the engine adds that has a disk. */
export type LedgerInfo = Omit<StoreInfo, 'engine'>

export type Call =
  | { readonly kind: 'submit'; readonly jobs: readonly PackedJob[] }
  | { readonly kind: 'submitWhole'; readonly jobs: readonly PackedJob[]; readonly note: Required<NewNote> }
  | { readonly kind: 'lease'; readonly requests: readonly LeaseRequest[] }
  | { readonly kind: 'extend'; readonly leases: readonly LeaseRef[]; readonly forMs: Millis }
  | { readonly kind: 'settle'; readonly settlements: readonly PackedSettlement[] }
  | { readonly kind: 'command'; readonly commands: readonly PackedCommand[] }
  | { readonly kind: 'read'; readonly ids: readonly string[]; readonly want: ReadWant }
  | { readonly kind: 'tick' }
  | { readonly kind: 'stats' }
  | { readonly kind: 'browse'; readonly request: BrowseRequest }
  | { readonly kind: 'keys'; readonly request: KeysRequest }
  | { readonly kind: 'held'; readonly keys: readonly KeyRef[] }
  | { readonly kind: 'followUps'; readonly max: number; readonly after?: readonly OutboxPlace[] | undefined }
  | { readonly kind: 'notes'; readonly prefix: string }
  | { readonly kind: 'schedules' }
  | { readonly kind: 'tasks' }
  | { readonly kind: 'info' }

export type CallKind = Call['kind']
export type CallOf<K extends CallKind> = Extract<Call, { kind: K }>

export interface ReplyByKind {
  readonly submit: readonly Submitted[]
  readonly submitWhole: SubmittedWhole
  readonly lease: readonly (readonly PackedLease[])[]
  readonly extend: readonly LeaseOutcome[]
  readonly settle: readonly SettleOutcome[]
  readonly command: readonly CommandOutcome[]
  readonly read: readonly (PackedRead | undefined)[]
  readonly tick: Tick
  readonly stats: readonly QueueStats[]
  readonly browse: BrowsePage
  readonly keys: readonly KeyState[]
  readonly held: readonly boolean[]
  readonly followUps: readonly StoredJob[]
  readonly notes: readonly { readonly name: string; readonly text: string }[]
  readonly schedules: readonly ScheduleState[]
  readonly tasks: readonly TaskState[]
  readonly info: LedgerInfo
}
