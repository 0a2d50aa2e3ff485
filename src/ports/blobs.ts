/**
 * Bodies of answers that are stored while they come, and read meanwhile: what is too large, or too slow, to be held in memory until it is whole.
 * A blob belongs to one attempt of one job. It counts only once a settlement names it (`JobAnswer.blob`): until then it may be dropped, and after
 * a crash it is gone. Whoever forgets the job forgets its blob.
 */
import type { Bytes } from '../lib/units.ts'

export interface BlobName {
  /** Of a job. */
  readonly id: string
  /** Which of the job's answers: `StreamState.answers`. */
  readonly number: number
}

/** What a settlement keeps of it. Without the key nobody can read it. */
export interface BlobRef {
  readonly number: number
  readonly bytes: Bytes
  /** base64url. */
  readonly key: string
}

export interface BlobSource {
  /** How many bytes there are; of one that is being written, so far. */
  readonly length: Bytes
  /**
   * Some of them from `offset` on, at least one; `offset` is less than `length`. In memory: at once. Rejects when they cannot be read, or are not
   * what was written: never gives others.
   */
  read(offset: Bytes): Uint8Array | Promise<Uint8Array>
  /** Nothing is read from it any more. */
  close(): void
}

export interface BlobWriter extends BlobSource {
  /** The bytes are copied, and can be read at once. False: hold back until `onDrain`. */
  append(bytes: Uint8Array): boolean
  /** That was all. Resolved = durable. It can still be read. */
  finish(): Promise<BlobRef>
  /** It is not wanted. Whoever reads it still may, until `close`. */
  drop(): Promise<void>
}

export interface BlobEvents {
  onDrain(): void
  /** Nothing more can be stored; what was is useless. In words. */
  onFailed(why: string): void
}

export interface Blobs {
  /** Rejects when there is no room for it, in words. */
  create(name: BlobName, events: BlobEvents): Promise<BlobWriter>
  /** One that a settlement has named. Undefined: it is not there as it was. */
  open(id: string, ref: BlobRef): Promise<BlobSource | undefined>
}
