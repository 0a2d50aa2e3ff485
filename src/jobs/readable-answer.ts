/** An answer as its readers see it, be it under way or stored: bytes from a blob, and how far they can be trusted. */
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
