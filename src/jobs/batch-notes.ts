/**
 * What the store keeps of a batch, as notes: its head under `batch/<id>`, and the letters of its jobs in blocks under `batch/<id>/<block>`, of which
 * one that is not there says that none of its jobs has ended. The id of a batch is that of its first job; the others have the ids that follow.
 */
import { BatchState } from '../core/jobs/batch.ts'
import { followUpPlan } from '../core/jobs/follow-up.ts'
import { formatJobId, parseJobId } from '../core/jobs/job-id.ts'
import { isMapping } from '../lib/mapping.ts'
import type { EpochMillis, Millis } from '../lib/units.ts'
import type { JobId, NewNote, QueueName, StoredJob } from '../ports/job-store.ts'

export const BATCH_NOTE = 'batch/'

export interface BatchHead {
  readonly secret: string
  readonly total: number
  readonly queues: readonly QueueName[]
  readonly reference?: string
  readonly submittedAt: EpochMillis
  /** From its end on. */
  readonly keepMs: Millis
  /** By which a repeat is found. */
  readonly once?: { readonly scopeKey: string; readonly fingerprint: string }
  readonly finishedAt?: EpochMillis
  /** What follows from its end is not done yet. */
  readonly due?: true
  /** With `due`: what of it is done all the same. */
  readonly followedBy?: readonly string[]
}

export interface KeptBatch {
  readonly id: JobId
  readonly head: BatchHead
  readonly state: BatchState
}

export function headNote(id: JobId, head: BatchHead): Required<NewNote> {
  return { name: BATCH_NOTE + id, text: JSON.stringify(head) }
}

export function blockNote(id: JobId, block: number, text: string): NewNote {
  return { name: `${BATCH_NOTE}${id}/${block}`, text }
}

/** What removes all of them. */
export function noNotes(id: JobId, total: number, blockSize: number): readonly NewNote[] {
  const blocks = Array.from({ length: Math.ceil(total / blockSize) }, (_, block) => ({ name: `${BATCH_NOTE}${id}/${block}` }))
  return [{ name: BATCH_NOTE + id }, ...blocks]
}

export interface ReadNotes {
  readonly batches: readonly KeptBatch[]
  /** Blocks without a head, and what is not of ours. */
  readonly stray: readonly string[]
}

/** A head comes before its blocks: notes are told by name. */
export function readNotes(notes: readonly { readonly name: string; readonly text: string }[]): ReadNotes {
  const batches = new Map<JobId, KeptBatch>()
  const stray: string[] = []
  for (const { name, text } of notes) {
    const [id = '', block] = name.slice(BATCH_NOTE.length).split('/')
    const head = block === undefined ? readHead(text) : undefined
    const batch = batches.get(id)
    if (head !== undefined) batches.set(id, { id, head, state: new BatchState(head.total) })
    else if (block !== undefined && batch !== undefined) batch.state.restore(Number(block), text)
    else stray.push(name)
  }
  return { batches: [...batches.values()], stray }
}

function readHead(text: string): BatchHead | undefined {
  try {
    const head: unknown = JSON.parse(text)
    return isMapping(head) && typeof head['secret'] === 'string' && typeof head['total'] === 'number'
      ? (head as unknown as BatchHead)
      : undefined
  } catch {
    return undefined
  }
}

/** Undefined: the job is of no batch. */
export function placeInBatch({
  id,
  followUp,
}: Pick<StoredJob, 'id' | 'followUp'>): { readonly batch: JobId; readonly index: number } | undefined {
  const { batch: place } = followUpPlan(followUp)
  const seq = place === undefined ? undefined : parseJobId(id)
  return place === undefined || seq === undefined ? undefined : { batch: formatJobId(seq - place.index), index: place.index }
}

/** `id`: of the batch. */
export function idAt(id: JobId, index: number): JobId {
  return formatJobId((parseJobId(id) ?? 0) + index)
}
