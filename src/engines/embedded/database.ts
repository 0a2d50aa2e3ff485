/** Opens the SQLite file: claims it, creates or checks its format, and begins a new generation, so that leases of earlier processes are void. */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { DATABASE_FILE, inUse, prepareFolder, reasonOf, writePid } from './folder.ts'
import { APPLICATION_ID, createTables, FORMAT_VERSION } from './schema.ts'
import { StoreOpenError } from './store-open-error.ts'

/** 8 MiB of pages: the hot leaves of the indexes. */
const CACHE_KIB = 8192
/** What the log file may keep after a large transaction. */
const LOG_BYTES_KEPT = 16 * 1024 * 1024
const SQLITE_BUSY = 5
const SQLITE_CORRUPT = 11
const SQLITE_NOTADB = 26

export function openDatabase(path: string): DatabaseSync {
  prepareFolder(path)
  const db = new DatabaseSync(join(path, DATABASE_FILE))
  try {
    claim(db)
    checkFormat(db, path)
    db.exec("BEGIN IMMEDIATE; UPDATE meta SET value = value + 1 WHERE name = 'generation'; COMMIT")
    writePid(path)
    return db
  } catch (error) {
    db.close()
    throw explained(error, path)
  }
}

/**
 * Exclusive locking: the kernel holds the claim for this process and ends it with it, a second gateway is refused at once,
 * and the log's index is in our memory instead of a shared file that a full disk could pull away from under us.
 */
function claim(db: DatabaseSync): void {
  db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL')
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
    db.exec("INSERT INTO meta (name, value) VALUES ('generation', 0), ('last_sequence', 0); COMMIT")
    return
  }
  if (application !== APPLICATION_ID) throw new StoreOpenError(path, `${DATABASE_FILE} is a database of another program`)
  if (version !== FORMAT_VERSION) {
    throw new StoreOpenError(path, `its format is ${version}, and this version of Spillway reads format ${FORMAT_VERSION}`)
  }
}

function pragma(db: DatabaseSync, name: string): number {
  return Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0] as number
}

/** The error of a store that could not be opened. */
export function explained(error: unknown, path: string): Error {
  if (error instanceof StoreOpenError) return error
  const code = ((error as { errcode?: number }).errcode ?? 0) & 0xff
  if (code === SQLITE_BUSY) return inUse(path)
  if (code === SQLITE_NOTADB) return new StoreOpenError(path, `${DATABASE_FILE} is not a database, or is damaged at its beginning`)
  if (code === SQLITE_CORRUPT) return new StoreOpenError(path, `${DATABASE_FILE} is damaged (${reasonOf(error)})`)
  return new StoreOpenError(path, reasonOf(error))
}
