/**
 * Copies of a store: a folder with the database, merged with its log, with the bodies that it refers to, and with `backup.json`, which says what
 * is in it. It has its name only when all of it is there and synced; until then it is called `.partial`.
 */
import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { createHash } from 'node:crypto'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Bytes, EpochMillis } from '../../lib/units.ts'
import { bodyFileName, BODIES_FOLDER, type FileKind } from './bodies.ts'
import { BACKUP_FILE, DATABASE_FILE, freeBytes, reasonOf, syncFolder } from './folder.ts'
import { APPLICATION_ID } from './schema.ts'
import { LOG_FILE } from './write-ahead-log.ts'

/** What is in a backup. */
export interface Manifest {
  readonly format: number
  readonly takenAt: EpochMillis
  readonly jobs: number
  readonly bodies: number
  /** Of database and bodies. */
  readonly bytes: Bytes
  readonly database: { readonly bytes: Bytes; readonly sha256: string }
}

/** Open files, so far as they are to be copied. */
export interface CopySource {
  readonly database: number
  readonly databaseBytes: Bytes
  readonly log: number
  readonly logBytes: Bytes
}

/** It cannot be done: in words for the person who asked. Nothing is left over. */
export class CopyRefused extends Error {
  override readonly name = 'CopyRefused'
}

const PIECE_BYTES: Bytes = 1024 * 1024
/** Written out so often: a sync of the store that comes in between must not wait for gigabytes of the copy. */
const SYNC_EVERY_BYTES: Bytes = 8 * PIECE_BYTES

export interface CopyRules {
  /** Stops when less than this would be left free. */
  readonly floorBytes: Bytes
  /** The store itself: it needs room while it is copied. */
  readonly storePath: string
}

/** Database and log, as they are at this moment. */
export function copyDatabase(source: CopySource, folder: string, rules: CopyRules, name: string = DATABASE_FILE): void {
  refuseWithoutRoom(dirname(folder), source.databaseBytes + source.logBytes, rules)
  copyBytes(source.database, source.databaseBytes, join(folder, name), rules)
  if (source.logBytes > 0) copyBytes(source.log, source.logBytes, join(folder, LOG_FILE), rules)
}

/** The log becomes a part of the database, which then needs no other file, and can be read where nothing can be written. */
export function mergeLog(folder: string): void {
  const db = new DatabaseSync(join(folder, DATABASE_FILE))
  try {
    db.exec('PRAGMA journal_mode = DELETE')
  } finally {
    db.close()
  }
}

/** Those that the copied database refers to. */
export function copyBodies(from: string, folder: string, rules: CopyRules): void {
  const to = join(folder, BODIES_FOLDER)
  mkdirSync(to, { mode: 0o700 })
  for (const { kind, seq, file } of bodiesOf(folder)) {
    const name = bodyFileName(kind, seq, file)
    refuseBelowFloor(to, rules)
    copyFileSync(join(from, name), join(to, name), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
    syncFile(join(to, name))
  }
  syncFolder(to)
}

/** Of a database that nobody writes to. */
export function bodiesOf(folder: string): readonly { readonly kind: FileKind; readonly seq: number; readonly file: number }[] {
  return reading(folder, (db) =>
    FILES.flatMap(([kind, sql]) =>
      db
        .prepare(sql)
        .all()
        .map((row) => ({ kind, seq: row['seq'] as number, file: row['file'] as number })),
    ),
  )
}

const FILES: readonly (readonly [FileKind, string])[] = [
  ['request', 'SELECT seq, file FROM requests WHERE file > 0'],
  ['result', 'SELECT seq, file FROM results WHERE file > 0'],
  ['stream', 'SELECT seq, -file AS file FROM results WHERE file < 0'],
]

/** Says what is in it, and gives it its name. */
export function finishBackup(partial: string, target: string, takenAt: EpochMillis): Manifest {
  const manifest = manifestOf(partial, takenAt)
  writeFileSync(join(partial, BACKUP_FILE), `${JSON.stringify(manifest, undefined, 2)}\n`, { mode: 0o600 })
  for (const name of [BACKUP_FILE, DATABASE_FILE]) syncFile(join(partial, name))
  syncFolder(partial)
  renameSync(partial, target)
  syncFolder(dirname(target))
  return manifest
}

/** The folder to copy into. `remove` when it came to nothing. */
export function beginBackup(target: string): { readonly partial: string; readonly remove: () => void } {
  const partial = `${target}.partial`
  if (existsSync(target)) throw new CopyRefused(`${target} is there already; a backup is written to a folder that is not`)
  try {
    mkdirSync(partial, { mode: 0o700 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw new CopyRefused(`${partial} cannot be made: ${reasonOf(error)}`)
    throw new CopyRefused(`${partial} is left of a backup that did not come to its end; remove it`)
  }
  return { partial, remove: () => rmSync(partial, { recursive: true, force: true }) }
}

/** undefined: there is none, so it is no backup, or not a whole one. Throws `CopyRefused` when it says nothing. */
export function readManifest(folder: string): Manifest | undefined {
  let text: string
  try {
    text = readFileSync(join(folder, BACKUP_FILE), 'utf8')
  } catch {
    return undefined
  }
  try {
    const manifest = JSON.parse(text) as Manifest
    if (typeof manifest.database.sha256 === 'string' && typeof manifest.jobs === 'number') return manifest
  } catch {}
  throw new CopyRefused(`${join(folder, BACKUP_FILE)} cannot be read: the backup is damaged`)
}

/** What differs from the manifest; undefined: nothing. */
export function wrongWithBackup(folder: string, manifest: Manifest): string | undefined {
  const { bytes, sha256 } = manifest.database
  const { size } = statSync(join(folder, DATABASE_FILE))
  if (size !== bytes) return `${DATABASE_FILE} has ${size} bytes, not ${bytes} as when the backup was made`
  if (sha256Of(join(folder, DATABASE_FILE)) !== sha256) return `${DATABASE_FILE} is not what it was when the backup was made`
  return undefined
}

function manifestOf(folder: string, takenAt: EpochMillis): Manifest {
  const file = join(folder, DATABASE_FILE)
  const { format, jobs } = reading(folder, (db) => {
    const number = (sql: string): number => Object.values(db.prepare(sql).get() ?? {})[0] as number
    if (number('PRAGMA application_id') !== APPLICATION_ID) throw new CopyRefused(`${DATABASE_FILE} is a database of another program`)
    return { format: number('PRAGMA user_version'), jobs: number('SELECT count(*) FROM jobs') }
  })
  const bodies = join(folder, BODIES_FOLDER)
  const sizes = readdirSync(bodies).map((name) => statSync(join(bodies, name)).size)
  const { size } = statSync(file)
  const bytes = sizes.reduce((sum, each) => sum + each, size)
  return { format, takenAt, jobs, bodies: sizes.length, bytes, database: { bytes: size, sha256: sha256Of(file) } }
}

function copyBytes(from: number, bytes: Bytes, path: string, rules: CopyRules): void {
  const to = openSync(path, 'wx', 0o600)
  try {
    const piece = Buffer.alloc(PIECE_BYTES)
    for (let at = 0; at < bytes; ) {
      const read = readSync(from, piece, 0, Math.min(PIECE_BYTES, bytes - at), at)
      if (read === 0) throw new Error(`${path}: the file became shorter while it was copied`)
      writeSync(to, piece, 0, read, at)
      at += read
      if (at % SYNC_EVERY_BYTES !== 0) continue
      fdatasyncSync(to)
      refuseBelowFloor(dirname(path), rules)
    }
    fsyncSync(to)
  } finally {
    closeSync(to)
  }
}

function refuseWithoutRoom(folder: string, bytes: Bytes, { storePath, floorBytes }: CopyRules): void {
  const free = freeBytes(folder)
  const kept = statSync(folder).dev === statSync(storePath).dev ? floorBytes : 0
  if (free - bytes >= kept) return
  throw new CopyRefused(`a copy takes ${bytes} bytes; of ${free} free ones in ${folder}, ${kept} are kept in reserve`)
}

/** Whatever fills the disk: the store comes first. */
function refuseBelowFloor(folder: string, { storePath, floorBytes }: CopyRules): void {
  const free = freeBytes(storePath)
  if (free < floorBytes) throw new CopyRefused(`${free} bytes are free on the disk of the store, ${floorBytes} are kept in reserve`)
  if (freeBytes(folder) === 0) throw new CopyRefused(`no space is left for the copy in ${folder}`)
}

function reading<T>(folder: string, work: (db: DatabaseSync) => T): T {
  const db = new DatabaseSync(join(folder, DATABASE_FILE), { readOnly: true })
  try {
    return work(db)
  } finally {
    db.close()
  }
}

export function syncFile(path: string): void {
  const file = openSync(path, 'r')
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

function sha256Of(path: string): string {
  const hash = createHash('sha256')
  const file = openSync(path, 'r')
  try {
    const piece = Buffer.alloc(PIECE_BYTES)
    for (;;) {
      const read = readSync(file, piece)
      if (read === 0) return hash.digest('hex')
      hash.update(piece.subarray(0, read))
    }
  } finally {
    closeSync(file)
  }
}
