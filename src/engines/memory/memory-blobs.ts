/** Blobs of the `memory` engine: pieces of one size, in order. */
import { formatJobId } from '../../core/jobs/job-id.ts'
import type { KeptBlob } from '../../core/jobs/record.ts'
import type { Bytes } from '../../lib/units.ts'
import type { BlobEvents, BlobName, BlobRef, Blobs, BlobSource, BlobWriter } from '../../ports/blobs.ts'

const PIECE_BYTES: Bytes = 64 * 1024

export class MemoryBlobs implements Blobs {
  readonly #blobs = new Map<string, MemoryBlob>()

  async create({ id, number }: BlobName, _events: BlobEvents): Promise<BlobWriter> {
    const name = nameOf(id, number)
    if (this.#blobs.has(name)) throw new Error(`there is a blob ${name} already`)
    const blob = new MemoryBlob(number, () => void this.#blobs.delete(name))
    this.#blobs.set(name, blob)
    return blob
  }

  async open(id: string, ref: BlobRef): Promise<BlobSource | undefined> {
    const blob = this.#blobs.get(nameOf(id, ref.number))
    return blob?.length === ref.bytes ? blob : undefined
  }

  adopt(seq: number, { number, bytes }: KeptBlob): void {
    const name = nameOf(formatJobId(seq), number)
    if (this.#blobs.get(name)?.length !== bytes) throw new Error(`the blob ${name} is not there as it was written`)
  }

  forget(seq: number, number: number): void {
    this.#blobs.delete(nameOf(formatJobId(seq), number))
  }
}

function nameOf(id: string, number: number): string {
  return `${id}.${number}`
}

class MemoryBlob implements BlobWriter {
  length: Bytes = 0
  readonly #number: number
  readonly #remove: () => void
  readonly #pieces: Uint8Array[] = []

  constructor(number: number, remove: () => void) {
    this.#number = number
    this.#remove = remove
  }

  append(bytes: Uint8Array): boolean {
    for (let at = 0; at < bytes.length; ) {
      const into = this.length % PIECE_BYTES
      if (into === 0) this.#pieces.push(new Uint8Array(PIECE_BYTES))
      const taken = bytes.subarray(at, at + PIECE_BYTES - into)
      this.#pieces.at(-1)?.set(taken, into)
      this.length += taken.length
      at += taken.length
    }
    return true
  }

  read(offset: Bytes): Uint8Array {
    const piece = Math.floor(offset / PIECE_BYTES)
    const end = Math.min(PIECE_BYTES, this.length - piece * PIECE_BYTES)
    return (this.#pieces[piece] as Uint8Array).subarray(offset % PIECE_BYTES, end)
  }

  /** Most answers are short, and they are kept for long. */
  async finish(): Promise<BlobRef> {
    const last = this.#pieces.pop()
    if (last !== undefined) this.#pieces.push(new Uint8Array(last.subarray(0, this.length - this.#pieces.length * PIECE_BYTES)))
    return { number: this.#number, bytes: this.length, key: '' }
  }

  async drop(): Promise<void> {
    this.#remove()
  }

  close(): void {}
}
