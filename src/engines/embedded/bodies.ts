/**
 * Large bodies as files beside the database. A file is written and synced, and its name synced, before the commit that refers to it;
 * it is removed only after the commit that stops to, and never written again. What a crash leaves over in between is found at the next open.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { formatJobId, parseJobId } from '../../core/jobs/job-id.ts'
import type { KeptBlob } from '../../core/jobs/record.ts'
import type { Bytes } from '../../lib/units.ts'
import { storedBytes } from './blob-format.ts'
import { syncFolder } from './folder.ts'

/** Larger ones are files. */
export const INLINE_BODY_BYTES_MAX: Bytes = 256 * 1024
export const BODIES_FOLDER = 'bodies'

export type BodyKind = 'request' | 'result'
/** `stream`: the body of an answer that was stored while it came (`blob-files.ts`). */
export type FileKind = BodyKind | 'stream'

/** `file`: from 1; a job that is given another request has a second one before the first is gone. */
export function bodyFileName(kind: FileKind, seq: number, file: number): string {
  return `${formatJobId(seq)}.${kind}${file === 1 ? '' : `.${file}`}`
}

/** undefined: it is none of ours. */
export function readBodyFileName(name: string): { readonly kind: FileKind; readonly seq: number; readonly file: number } | undefined {
  const [, id = '', kind, file = '1'] = /^([^.]+)\.(request|result|stream)(?:\.([2-9]|[1-9]\d+))?$/.exec(name) ?? []
  const seq = parseJobId(id)
  return seq === undefined ? undefined : { kind: kind as FileKind, seq, file: Number(file) }
}

/** undefined: there is none. */
export function readBody(folder: string, kind: BodyKind, seq: number, file: number): Uint8Array | undefined {
  try {
    return readFileSync(join(folder, bodyFileName(kind, seq, file)))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

export class Bodies {
  readonly #folder: string
  readonly #syncs: boolean
  /** Written since the last commit. */
  #written: string[] = []
  /** To be removed after the commit. */
  #doomed: string[] = []
  /** To be removed when nobody copies them any more; undefined: nobody does. */
  #held: string[] | undefined
  /** Of files that others wrote and the open transaction has made ours. */
  #adopted: Bytes = 0
  /** Of all files: what `removeOrphans` found, and what came and went since. */
  #bytes: Bytes = 0

  constructor(storePath: string, unsafeNoSync = false) {
    this.#folder = join(storePath, BODIES_FOLDER)
    this.#syncs = !unsafeNoSync
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    if (this.#syncs) syncFolder(storePath)
  }

  get bytes(): Bytes {
    return this.#bytes
  }

  get hasDoomed(): boolean {
    return this.#doomed.length > 0
  }

  /** Says which file of the job's it is. */
  write(kind: BodyKind, seq: number, body: Uint8Array): number {
    for (let number = 1; ; number++) {
      const path = this.#path(kind, seq, number)
      const file = openNew(path)
      // An older one, which this transaction may not touch.
      if (file === undefined) continue
      this.#written.push(path)
      try {
        for (let at = 0; at < body.length; ) at += writeSync(file, body, at)
        this.#bytes += body.length
        if (this.#syncs) fsyncSync(file)
      } finally {
        closeSync(file)
      }
      return number
    }
  }

  read(kind: BodyKind, seq: number, file: number): Uint8Array | undefined {
    return readBody(this.#folder, kind, seq, file)
  }

  /** Throws if what somebody else has written, and synced, is not there. */
  adopt(seq: number, { number, bytes }: KeptBlob): void {
    const path = this.#path('stream', seq, number)
    const size = statSync(path, { throwIfNoEntry: false })?.size
    if (size !== storedBytes(bytes)) throw new Error(`${path} is not there as it was written`)
    this.#adopted += size
    this.#bytes += size
  }

  doom(kind: FileKind, seq: number, file: number): void {
    this.#doomed.push(this.#path(kind, seq, file))
  }

  /** Before the commit: what it refers to must be found after a power cut. */
  sync(): void {
    if (this.#syncs && this.#written.length > 0) syncFolder(this.#folder)
  }

  /** After a commit that is synced. */
  committed(): void {
    const doomed = this.#doomed
    this.#written = []
    this.#doomed = []
    this.#adopted = 0
    if (this.#held !== undefined) this.#held.push(...doomed)
    else for (const path of doomed) this.#removeOrLeave(path)
  }

  rolledBack(): void {
    const written = this.#written
    this.#written = []
    this.#doomed = []
    this.#bytes -= this.#adopted
    this.#adopted = 0
    for (const path of written) this.#removeOrLeave(path)
  }

  /** From now on nothing is removed, until `release`: somebody copies what is there. */
  hold(): void {
    this.#held ??= []
  }

  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const path of held) this.#removeOrLeave(path)
  }

  /** Removes files that nothing refers to. */
  removeOrphans(isReferred: (kind: FileKind, seq: number, file: number) => boolean): void {
    for (const name of readdirSync(this.#folder)) {
      const found = readBodyFileName(name)
      if (found === undefined) continue
      const path = join(this.#folder, name)
      if (isReferred(found.kind, found.seq, found.file)) this.#bytes += statSync(path).size
      else remove(path)
    }
  }

  /** The transaction is over and cannot fail any more: what resists is an orphan, which the next open removes. */
  #removeOrLeave(path: string): void {
    try {
      this.#bytes -= statSync(path, { throwIfNoEntry: false })?.size ?? 0
      remove(path)
    } catch {}
  }

  #path(kind: FileKind, seq: number, file: number): string {
    return join(this.#folder, bodyFileName(kind, seq, file))
  }
}

/** undefined: there is one of that name. */
function openNew(path: string): number | undefined {
  try {
    return openSync(path, 'wx', 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined
    throw error
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}
