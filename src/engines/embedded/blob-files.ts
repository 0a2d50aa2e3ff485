/**
 * Bodies of streamed answers as files beside those of large requests and results. They are written and read with asynchronous calls by the thread
 * that serves, because what is written is read by many at the same time; everything that is decided about them (which are kept, which go) is
 * decided by the store thread, with the job. A file is whole and synced, and so is its name, before a settlement names it.
 */
import { type FileHandle, open, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { parseJobId } from '../../core/jobs/job-id.ts'
import type { Bytes } from '../../lib/units.ts'
import type { BlobEvents, BlobName, BlobRef, Blobs, BlobSource, BlobWriter } from '../../ports/blobs.ts'
import type { Random } from '../../ports/clock.ts'
import { BLOB_KEY_BYTES, BLOCK_BYTES, blockBytes, openBlock, storedBytes } from './blob-format.ts'
import { BODIES_FOLDER, bodyFileName } from './bodies.ts'
import { readBlock, WritingBlob } from './writing-blob.ts'

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
