/**
 * The data folder: made private, checked for a file system that keeps promises, and claimed for one gateway.
 * The claim is SQLite's exclusive lock on the database, which the kernel ends with the process, so there is no stale lock to judge;
 * the pid file beside it only tells people who holds it.
 */
import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync, readFileSync, statfsSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Bytes } from '../../lib/units.ts'
import { StoreOpenError } from './store-open-error.ts'

/** statfs types of file systems whose locks and syncs do not hold what SQLite needs. */
const REMOTE_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x5346414f, 'AFS'],
  [0x73757245, 'Coda'],
  [0x01021997, '9P'],
  [0x786f4256, 'a VirtualBox share'],
])

export const DATABASE_FILE = 'store.db'
/** What a backup has and a store has not: what is in it. */
export const BACKUP_FILE = 'backup.json'
/** A folder has it while a store is made in it from a copy. */
export const RESTORE_FILE = 'restore.partial'
/** Where a copy lies while it is verified. */
export const VERIFY_FOLDER = 'verify.partial'
const PID_FILE = 'gateway.pid'

export function prepareFolder(path: string, unsafeNoSync = false): void {
  attempt(path, () => {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    chmodSync(path, 0o700)
  })
  refuseRemoteFolder(path)
  attempt(path, () => {
    makePrivate(join(path, DATABASE_FILE))
    if (unsafeNoSync) return
    syncFolder(path)
    syncFolder(dirname(path))
  })
}

/**
 * SQLite would create the database readable for all; its write-ahead log takes over the mode of the database. One that is there is not even
 * opened: closing it again would end the locks that another connection of this process has on it (POSIX).
 */
function makePrivate(database: string): void {
  try {
    closeSync(openSync(database, 'ax', 0o600))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    chmodSync(database, 0o600)
  }
}

export function refuseRemote(path: string, type: number): void {
  const remote = REMOTE_FILE_SYSTEMS.get(type >>> 0)
  if (remote === undefined) return
  throw new StoreOpenError(path, `it is on ${remote}; a network file system cannot promise that what is synced is kept. Use a local disk`)
}

export function writePid(path: string): void {
  attempt(path, () => writeFileSync(join(path, PID_FILE), `${process.pid}\n`, { mode: 0o600 }))
}

export function inUse(path: string): StoreOpenError {
  let holder = 'another process'
  try {
    holder = `process ${readFileSync(join(path, PID_FILE), 'utf8').trim()}`
  } catch {
    // It has the lock, but has not written its pid yet.
  }
  return new StoreOpenError(path, `it is in use by ${holder}`)
}

/** Makes the names in a folder durable, not only what is in the files. */
export function syncFolder(path: string): void {
  const folder = openSync(path, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

export function freeBytes(path: string): Bytes {
  const { bavail, bsize } = statfsSync(path)
  return bavail * bsize
}

export function refuseRemoteFolder(path: string): void {
  refuseRemote(path, fileSystemType(path))
}

function fileSystemType(path: string): number {
  return attempt(path, () => statfsSync(path).type)
}

function attempt<T>(path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw new StoreOpenError(path, reasonOf(error))
  }
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left on the disk',
  EDQUOT: 'the disk quota is used up',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EEXIST: 'it is a file, not a folder',
}

export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = (error as NodeJS.ErrnoException).code ?? ''
  return REASONS[code] ?? error.message
}
