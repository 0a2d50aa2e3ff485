/** Opens the SQLite file: claims it, creates, checks or upgrades its format, and begins a new generation, so that leases of earlier processes are void. */
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { BACKUP_FILE, DATABASE_FILE, inUse, prepareFolder, reasonOf, RESTORE_FILE, VERIFY_FOLDER, writePid } from './folder.ts'
import { APPLICATION_ID, AUTO_VACUUM_INCREMENTAL, createTables, FORMAT_VERSION, readMeta, writeMeta } from './schema.ts'
import { StoreOpenError } from './store-open-error.ts'
import { PAGE_BYTES } from './write-ahead-log.ts'
import { canUpgrade, upgrade } from './upgrade.ts'

/** 8 MiB of pages: the hot leaves of the indexes. */
const CACHE_KIB = 8192
/** What the log file may keep after a large transaction. */
const LOG_BYTES_KEPT = 16 * 1024 * 1024
/** A file with no more than this in it is rewritten when it is opened, if it cannot give space back yet. */
const REWRITTEN_PAGES_MAX = 4096
const SQLITE_BUSY = 5
const SQLITE_CORRUPT = 11
const SQLITE_FULL = 13
const SQLITE_NOTADB = 26

export function openDatabase(path: string, unsafeNoSync = false): DatabaseSync {
  refuseCopies(path)
  prepareFolder(path, unsafeNoSync)
  const db = new DatabaseSync(join(path, DATABASE_FILE))
  try {
    claim(db, unsafeNoSync ? 'OFF' : 'FULL')
    checkFormat(db, path)
    nextGeneration(db, path)
    letGiveBack(db)
    writePid(path)
    rmSync(join(path, VERIFY_FOLDER), { recursive: true, force: true })
    return db
  } catch (error) {
    db.close()
    throw explained(error, path)
  }
}

/** Two gateways that began from one copy would give the same fences to different attempts. */
function refuseCopies(path: string): void {
  if (existsSync(join(path, BACKUP_FILE))) {
    throw new StoreOpenError(path, 'it is a backup; make a store of it with: spillway restore <backup> <folder>')
  }
  if (existsSync(join(path, RESTORE_FILE))) {
    throw new StoreOpenError(path, 'a restore into it did not come to its end; empty the folder and restore again')
  }
}

/**
 * Exclusive locking: the kernel holds the claim for this process and ends it with it, a second gateway is refused at once,
 * and the log's index is in our memory instead of a shared file that a full disk could pull away from under us.
 */
function claim(db: DatabaseSync, synchronous: 'FULL' | 'OFF'): void {
  // These two count only for a file that has nothing in it yet, and the page's size only before the other.
  db.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA auto_vacuum = ${AUTO_VACUUM_INCREMENTAL}`)
  db.exec(`PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = ${synchronous}`)
  db.exec('PRAGMA journal_mode = WAL')
  // The checkpoints are ours: between batches, not inside a commit that somebody waits for.
  db.exec(`PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = ${LOG_BYTES_KEPT}`)
  db.exec(`PRAGMA cache_size = -${CACHE_KIB}; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF`)
  db.exec('BEGIN IMMEDIATE; COMMIT')
}

function checkFormat(db: DatabaseSync, path: string): void {
  const version = pragma(db, 'user_version')
  const application = pragma(db, 'application_id')
  if (version === 0 && application === 0 && pragma(db, 'schema_version') === 0) {
    db.exec('BEGIN IMMEDIATE')
    createTables(db)
    db.exec('COMMIT')
    return
  }
  if (application !== APPLICATION_ID) throw new StoreOpenError(path, `${DATABASE_FILE} is a database of another program`)
  if (canUpgrade(version)) return upgrade(db, version)
  if (version !== FORMAT_VERSION) {
    throw new StoreOpenError(path, `its format is ${version}, and this version of Spillway reads format ${FORMAT_VERSION} and older ones`)
  }
}

function nextGeneration(db: DatabaseSync, path: string): void {
  const generation = readMeta(db, 'generation')
  if (generation === undefined || readMeta(db, 'last_sequence') === undefined) {
    throw new StoreOpenError(path, `${DATABASE_FILE} is damaged (its own numbers fail their checks); see: spillway help salvage`)
  }
  db.exec('BEGIN IMMEDIATE')
  writeMeta(db, 'generation', generation + 1)
  db.exec('COMMIT')
}

/** A file of format 1 keeps its free pages for itself. That is changed by writing it anew, which is done where it is quick. */
function letGiveBack(db: DatabaseSync): void {
  if (pragma(db, 'auto_vacuum') !== 0 || pragma(db, 'page_count') - pragma(db, 'freelist_count') > REWRITTEN_PAGES_MAX) return
  try {
    db.exec(`PRAGMA auto_vacuum = ${AUTO_VACUUM_INCREMENTAL}; VACUUM`)
  } catch (error) {
    if (primaryCode(error) !== SQLITE_FULL) throw error
  }
}

function pragma(db: DatabaseSync, name: string): number {
  return Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0] as number
}

/** The error of a store that could not be opened. */
export function explained(error: unknown, path: string): Error {
  if (error instanceof StoreOpenError) return error
  const code = primaryCode(error)
  if (code === SQLITE_BUSY) return inUse(path)
  if (code === SQLITE_NOTADB) return new StoreOpenError(path, `${DATABASE_FILE} is not a database, or is damaged at its beginning`)
  if (code === SQLITE_CORRUPT)
    return new StoreOpenError(path, `${DATABASE_FILE} is damaged (${reasonOf(error)}); see: spillway help salvage`)
  return new StoreOpenError(path, reasonOf(error))
}

function primaryCode(error: unknown): number {
  return ((error as { errcode?: number }).errcode ?? 0) & 0xff
}
