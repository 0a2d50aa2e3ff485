/**
 * Large bodies as files beside the database. A file is written and synced, and its name synced, before the commit that refers to it;
 * it is removed only after the commit that stops to. What a crash leaves over in between is found at the next open.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { formatJobId, parseJobId } from '../../core/jobs/job-id.ts'
import type { Bytes } from '../../lib/units.ts'
import { syncFolder } from './folder.ts'

/** Larger ones are files. */
export const INLINE_BODY_BYTES_MAX: Bytes = 256 * 1024

export type BodyKind = 'request' | 'result'

export class Bodies {
  readonly #folder: string
  /** Written since the last commit. */
  #written: string[] = []
  /** To be removed after the commit. */
  #doomed: string[] = []
  /** Of all files: what `removeOrphans` found, and what came and went since. */
  #bytes: Bytes = 0

  constructor(storePath: string) {
    this.#folder = join(storePath, 'bodies')
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    syncFolder(storePath)
  }

  get bytes(): Bytes {
    return this.#bytes
  }

  get hasDoomed(): boolean {
    return this.#doomed.length > 0
  }

  write(kind: BodyKind, seq: number, body: Uint8Array): void {
    const path = this.#path(kind, seq)
    this.#written.push(path)
    const file = openSync(path, 'w', 0o600)
    try {
      for (let at = 0; at < body.length; ) at += writeSync(file, body, at)
      this.#bytes += body.length
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
  }

  /** undefined: it is not there. */
  read(kind: BodyKind, seq: number): Uint8Array | undefined {
    try {
      return readFileSync(this.#path(kind, seq))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  doom(kind: BodyKind, seq: number): void {
    this.#doomed.push(this.#path(kind, seq))
  }

  /** Before the commit: what it refers to must be found after a power cut. */
  sync(): void {
    if (this.#written.length > 0) syncFolder(this.#folder)
  }

  /** After a commit that is synced. */
  committed(): void {
    const doomed = this.#doomed
    this.#written = []
    this.#doomed = []
    for (const path of doomed) this.#removeOrLeave(path)
  }

  rolledBack(): void {
    const written = this.#written
    this.#written = []
    this.#doomed = []
    for (const path of written) this.#removeOrLeave(path)
  }

  /** Removes files that nothing refers to. */
  removeOrphans(isReferred: (kind: BodyKind, seq: number) => boolean): void {
    for (const name of readdirSync(this.#folder)) {
      const [id = '', kind] = name.split('.')
      const seq = parseJobId(id)
      if (seq === undefined || (kind !== 'request' && kind !== 'result')) continue
      const path = join(this.#folder, name)
      if (isReferred(kind, seq)) this.#bytes += statSync(path).size
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

  #path(kind: BodyKind, seq: number): string {
    return join(this.#folder, `${formatJobId(seq)}.${kind}`)
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}
