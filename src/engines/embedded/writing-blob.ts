/** One blob that is being written: its file, and what is in memory of it because it is not in the file yet, or was last to come. */
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bytes } from '../../lib/units.ts'
import type { BlobEvents, BlobRef, BlobWriter } from '../../ports/blobs.ts'
import { BLOCK_BYTES, blockBytes, openBlock, sealBlock, STORED_BLOCK_BYTES, storedBytes } from './blob-format.ts'
import { reasonOf } from './folder.ts'

/** Full blocks that wait for the disk: with so many no more is taken. */
const WAITING_BLOCKS_MAX = 2
/** Synced, and looked at how much room is left, so often: the last sync is short then. */
const SYNC_EVERY_BYTES: Bytes = 8 * 1024 * 1024
const EMPTY = Buffer.alloc(0)
/** A block that grows begins with so much. Most streams are short, and many are open at once. */
const FILLING_BYTES_MIN: Bytes = 4096

export interface WritingParts {
  readonly handle: FileHandle
  readonly folder: string
  readonly file: string
  readonly number: number
  readonly key: Buffer
  readonly events: BlobEvents
  readonly syncs: boolean
  readonly refuseWithoutRoom: () => Promise<void>
  readonly onClosed: () => void
}

export class WritingBlob implements BlobWriter {
  length: Bytes = 0
  readonly closed: Promise<void>
  readonly #parts: WritingParts
  /** The block that is not full; its buffer grows with it. */
  #filling: Buffer = EMPTY
  /** Full ones that are not in the file yet, by index. */
  readonly #waiting = new Map<number, Buffer>()
  #next = 0
  #unsynced: Bytes = 0
  #held = false
  #failed: string | undefined
  #unwanted = false
  #reading = 0
  #closing = false
  #isClosed = false
  /** The last thing that was asked of the file. */
  #work: Promise<void> = Promise.resolve()
  #isWriting = false
  #tellClosed: () => void = () => undefined

  constructor(parts: WritingParts) {
    this.#parts = parts
    this.closed = new Promise((resolve) => {
      this.#tellClosed = resolve
    })
  }

  append(bytes: Uint8Array): boolean {
    if (this.#failed !== undefined || this.#unwanted) return true
    for (let at = 0; at < bytes.length; ) {
      const into = this.length % BLOCK_BYTES
      if (into === 0) this.#filling = EMPTY
      const taken = bytes.subarray(at, at + BLOCK_BYTES - into)
      this.#fill(into, taken)
      this.length += taken.length
      at += taken.length
      if (into + taken.length === BLOCK_BYTES) this.#waiting.set(this.length / BLOCK_BYTES - 1, this.#filling)
    }
    this.#writeWaiting()
    this.#held = this.#waiting.size >= WAITING_BLOCKS_MAX
    return !this.#held
  }

  read(offset: Bytes): Uint8Array | Promise<Uint8Array> {
    const index = Math.floor(offset / BLOCK_BYTES)
    const bytes = blockBytes(index, this.length)
    // The last block stays in memory, full or not, until the next begins.
    const inMemory = index === Math.floor((this.length - 1) / BLOCK_BYTES) ? this.#filling : this.#waiting.get(index)
    if (inMemory !== undefined) return inMemory.subarray(offset % BLOCK_BYTES, bytes)
    return this.#readWritten(index, offset % BLOCK_BYTES)
  }

  async finish(): Promise<BlobRef> {
    await this.#work
    this.#throwIfUseless()
    const { handle, file, folder, number, key, syncs } = this.#parts
    const index = Math.floor(this.length / BLOCK_BYTES)
    const rest = this.length % BLOCK_BYTES
    this.#work = (async () => {
      if (rest > 0) await writeAll(handle, sealBlock(key, file, index, this.#filling.subarray(0, rest)), index * STORED_BLOCK_BYTES)
      if (!syncs) return
      await handle.sync()
      await syncFolderAsync(folder)
    })()
    const finished = this.#work
    this.#work = finished.catch((error: unknown) => this.#fail(reasonOf(error)))
    await finished
    this.#throwIfUseless()
    return { number, bytes: this.length, key: key.toString('base64url') }
  }

  drop(): Promise<void> {
    const { folder, file } = this.#parts
    this.#unwanted = true
    // What resists is an orphan, which the next open removes.
    this.#work = this.#work.then(() => unlink(join(folder, file))).catch(() => undefined)
    return this.#work
  }

  close(): void {
    if (this.#closing) return
    this.#closing = true
    void this.#work.then(() => this.#closeFile())
  }

  #fill(into: Bytes, bytes: Uint8Array): void {
    const wanted = into + bytes.length
    if (wanted > this.#filling.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, Math.max(FILLING_BYTES_MIN, 2 * this.#filling.length, wanted)))
      this.#filling.copy(larger, 0, 0, into)
      this.#filling = larger
    }
    this.#filling.set(bytes, into)
  }

  #writeWaiting(): void {
    if (this.#isWriting || this.#waiting.size === 0) return
    this.#isWriting = true
    this.#work = this.#writeAllWaiting().catch((error: unknown) => this.#fail(reasonOf(error)))
  }

  async #writeAllWaiting(): Promise<void> {
    const { handle, file, key, syncs, events } = this.#parts
    for (let block = this.#waiting.get(this.#next); block !== undefined && !this.#unwanted; block = this.#waiting.get(this.#next)) {
      await writeAll(handle, sealBlock(key, file, this.#next, block), this.#next * STORED_BLOCK_BYTES)
      this.#waiting.delete(this.#next)
      this.#next += 1
      this.#unsynced += BLOCK_BYTES
      if (this.#unsynced >= SYNC_EVERY_BYTES) {
        this.#unsynced = 0
        if (syncs) await handle.datasync()
        await this.#parts.refuseWithoutRoom()
      }
      if (this.#held && this.#waiting.size < WAITING_BLOCKS_MAX) {
        this.#held = false
        events.onDrain()
      }
    }
    this.#isWriting = false
  }

  async #readWritten(index: number, from: Bytes): Promise<Uint8Array> {
    const { handle, file, key } = this.#parts
    this.#reading += 1
    try {
      if (this.#closing) throw new Error('the answer is not read any more')
      const plain = openBlock(key, file, index, await readBlock(handle, index, BLOCK_BYTES))
      if (plain === undefined) throw new Error('a part of the answer fails its checks')
      return plain.subarray(from)
    } finally {
      this.#reading -= 1
      this.#closeFile()
    }
  }

  #fail(why: string): void {
    if (this.#failed !== undefined) return
    this.#failed = why
    this.#isWriting = false
    if (!this.#unwanted) this.#parts.events.onFailed(why)
  }

  #throwIfUseless(): void {
    if (this.#failed !== undefined) throw new Error(this.#failed)
    if (this.#unwanted) throw new Error('it was dropped')
  }

  #closeFile(): void {
    if (!this.#closing || this.#isClosed || this.#reading > 0 || this.#isWriting) return
    this.#isClosed = true
    this.#parts.handle.close().then(this.#tellClosed, this.#tellClosed)
    this.#parts.onClosed()
  }
}

/** As it is stored; shorter where the file ends early. */
export async function readBlock(handle: FileHandle, index: number, bytes: Bytes): Promise<Buffer> {
  const stored = Buffer.allocUnsafe(storedBytes(bytes))
  for (let at = 0; at < stored.length; ) {
    const { bytesRead } = await handle.read(stored, at, stored.length - at, index * STORED_BLOCK_BYTES + at)
    if (bytesRead === 0) return stored.subarray(0, at)
    at += bytesRead
  }
  return stored
}

async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at, bytes.length - at, position + at)).bytesWritten
}

async function syncFolderAsync(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
