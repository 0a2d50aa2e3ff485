/**
 * Bodies of streamed answers as files beside those of large requests and results. They are written and read with asynchronous calls by the thread
 * that serves, because what is written is read by many at the same time; everything that is decided about them (which are kept, which go) is
 * decided by the store thread, with the job. A file is whole and synced, and so is its name, before a settlement names it.
 */
import { type FileHandle, open, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { parseJobId } from '../../core/jobs/job-id.ts'
import type { Bytes } from '../../lib/units.ts'
import type { BlobEvents, BlobName, BlobRef, Blobs, BlobSource, BlobWriter } from '../../ports/blobs.ts'
import type { Random } from '../../ports/clock.ts'
import { BLOB_KEY_BYTES, BLOCK_BYTES, blockBytes, openBlock, sealBlock, STORED_BLOCK_BYTES, storedBytes } from './blob-format.ts'
import { BODIES_FOLDER, bodyFileName } from './bodies.ts'
import { reasonOf } from './folder.ts'

/** Full blocks that wait for the disk: with so many no more is taken. */
const WAITING_BLOCKS_MAX = 2
/** Synced, and looked at how much room is left, so often: the last sync is short then. */
const SYNC_EVERY_BYTES: Bytes = 8 * 1024 * 1024
const EMPTY = Buffer.alloc(0)
/** A block that grows begins with so much. Most streams are short, and many are open at once. */
const FILLING_BYTES_MIN: Bytes = 4096

export interface BlobFilesOptions {
  readonly storePath: string
  readonly random: Pick<Random, 'bytes'>
  /** With less than this free on the disk none is begun and none goes on. */
  readonly floorBytes: Bytes
  readonly onCorrupt: (what: string) => void
  /** The job is there. Its blob goes after it: what is missing then is no damage. */
  readonly isKept: (id: string) => Promise<boolean>
  /** Only for tests: see `EngineOptions`. */
  readonly unsafeNoSync?: boolean
}

export class BlobFiles implements Blobs {
  readonly #options: BlobFilesOptions
  readonly #folder: string
  /** By file name: all who read a blob share its file. */
  readonly #open = new Map<string, Promise<BlobFile | undefined>>()
  readonly #writing = new Set<WritingBlob>()

  constructor(options: BlobFilesOptions) {
    this.#options = options
    this.#folder = join(options.storePath, BODIES_FOLDER)
  }

  async create({ id, number }: BlobName, events: BlobEvents): Promise<BlobWriter> {
    const file = fileOf(id, number)
    await this.#refuseWithoutRoom()
    const handle = await open(join(this.#folder, file), 'wx+', 0o600)
    const { random, unsafeNoSync = false } = this.#options
    const writing = new WritingBlob({
      ...{ handle, file, number, folder: this.#folder, key: random.bytes(BLOB_KEY_BYTES), events, syncs: !unsafeNoSync },
      refuseWithoutRoom: () => this.#refuseWithoutRoom(),
      onClosed: () => void this.#writing.delete(writing),
    })
    this.#writing.add(writing)
    return writing
  }

  async open(id: string, ref: BlobRef): Promise<BlobSource | undefined> {
    const file = fileOf(id, ref.number)
    const opened = this.#open.get(file) ?? this.#openFile(id, file, ref)
    const blob = await opened
    if (blob === undefined) return undefined
    // Its last reader may have gone while this one came.
    if (blob.isClosed) return this.open(id, ref)
    return blob.reader()
  }

  /** Everybody who wrote or read is gone, or is let go now. */
  async close(): Promise<void> {
    for (const writing of this.#writing) writing.close()
    await Promise.all([...this.#writing].map((writing) => writing.closed))
    for (const opened of [...this.#open.values()]) await (await opened)?.shut()
  }

  #openFile(id: string, file: string, ref: BlobRef): Promise<BlobFile | undefined> {
    const opened = openWhole(join(this.#folder, file), storedBytes(ref.bytes)).then(async (handle) => {
      if (typeof handle !== 'string') return new BlobFile({ handle, file, ref, onBad, onClosed: () => void this.#open.delete(file) })
      this.#open.delete(file)
      if (await this.#options.isKept(id)) onBad(handle)
      return undefined
    })
    const onBad = (what: string): void => this.#options.onCorrupt(`job ${id}: its result ${what}`)
    this.#open.set(file, opened)
    opened.catch(() => this.#open.delete(file))
    return opened
  }

  async #refuseWithoutRoom(): Promise<void> {
    const { floorBytes } = this.#options
    const { bavail, bsize } = await statfs(this.#folder)
    const free = bavail * bsize
    if (free < floorBytes) throw new Error(`${free} bytes are free on the disk; ${floorBytes} are kept in reserve`)
  }
}

function fileOf(id: string, number: number): string {
  const seq = parseJobId(id)
  if (seq === undefined) throw new TypeError(`${id} is no id of a job`)
  return bodyFileName('stream', seq, number)
}

/** A text: what is wrong with it. */
async function openWhole(path: string, bytes: Bytes): Promise<FileHandle | string> {
  let handle: FileHandle
  try {
    handle = await open(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'is missing'
    throw error
  }
  const { size } = await handle.stat()
  if (size === bytes) return handle
  await handle.close()
  return `has ${size} bytes in its file, not ${bytes}`
}

async function readBlock(handle: FileHandle, index: number, bytes: Bytes): Promise<Buffer> {
  const stored = Buffer.allocUnsafe(storedBytes(bytes))
  for (let at = 0; at < stored.length; ) {
    const { bytesRead } = await handle.read(stored, at, stored.length - at, index * STORED_BLOCK_BYTES + at)
    if (bytesRead === 0) return stored.subarray(0, at)
    at += bytesRead
  }
  return stored
}

interface WritingParts {
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

class WritingBlob implements BlobWriter {
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

interface FileParts {
  readonly handle: FileHandle
  readonly file: string
  readonly ref: BlobRef
  readonly onBad: (what: string) => void
  readonly onClosed: () => void
}

/** The file of a whole blob, as long as somebody reads it. */
class BlobFile {
  readonly #parts: FileParts
  readonly #key: Buffer
  #users = 0
  #shut: Promise<void> | undefined
  #isBad = false

  constructor(parts: FileParts) {
    this.#parts = parts
    this.#key = Buffer.from(parts.ref.key, 'base64url')
  }

  get isClosed(): boolean {
    return this.#shut !== undefined
  }

  reader(): BlobSource {
    this.#users += 1
    let closed = false
    return {
      length: this.#parts.ref.bytes,
      read: (offset) => this.#read(offset),
      close: () => {
        if (closed) return
        closed = true
        this.#leave()
      },
    }
  }

  shut(): Promise<void> {
    if (this.#shut === undefined) {
      this.#parts.onClosed()
      this.#shut = this.#parts.handle.close()
    }
    return this.#shut
  }

  async #read(offset: Bytes): Promise<Uint8Array> {
    const { handle, file, ref } = this.#parts
    const index = Math.floor(offset / BLOCK_BYTES)
    this.#users += 1
    try {
      const plain = openBlock(this.#key, file, index, await readBlock(handle, index, blockBytes(index, ref.bytes)))
      if (plain === undefined) throw this.#bad('fails its checks')
      return plain.subarray(offset % BLOCK_BYTES)
    } finally {
      this.#leave()
    }
  }

  /** Said once, however many read it. */
  #bad(what: string): Error {
    if (!this.#isBad) this.#parts.onBad(what)
    this.#isBad = true
    return new Error(`the stored answer ${what}`)
  }

  #leave(): void {
    this.#users -= 1
    if (this.#users === 0) void this.shut()
  }
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
