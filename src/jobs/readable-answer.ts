/** An answer as its readers see it, be it under way or stored: bytes from a blob, and how far they can be trusted. */
import type { Bytes } from '../lib/units.ts'
import type { BlobSource } from '../ports/blobs.ts'
import type { AnswerHead, JobAnswer, StoredJob } from '../ports/job-store.ts'

/** `open`: more may come. `complete`: durable, and so is that it is. `broken`: what there is, is no answer. */
export type AnswerState = 'open' | 'complete' | 'broken'

export interface ReadableAnswer extends BlobSource {
  readonly job: StoredJob
  /** Which of the job's answers: the first part of its offsets. */
  readonly number: number
  /** Without what steers the gateway. */
  readonly head: AnswerHead
  readonly state: AnswerState
  /** Called after each change of length or state. Returns what ends it. */
  watch(listener: () => void): () => void
}

/** One that is whole. */
export function storedAnswer(job: StoredJob, { status, reason, headers, blob }: JobAnswer, source: BlobSource): ReadableAnswer {
  return {
    job,
    number: blob?.number ?? 0,
    head: { status, reason, headers },
    state: 'complete',
    length: source.length,
    read: (offset) => source.read(offset),
    watch: () => () => undefined,
    close: () => source.close(),
  }
}

const PIECE_BYTES: Bytes = 64 * 1024

/** One that was not handed on. It has the number that the next would have had: its job has succeeded, and there is none. */
export function ordinaryAnswer(job: StoredJob, { status, reason, headers, body }: JobAnswer, free: () => void): ReadableAnswer {
  return {
    job,
    number: (job.stream?.answers ?? 0) + 1,
    head: { status, reason, headers },
    state: 'complete',
    length: body.length,
    read: (offset) => body.subarray(offset, offset + PIECE_BYTES),
    watch: () => () => undefined,
    close: free,
  }
}
