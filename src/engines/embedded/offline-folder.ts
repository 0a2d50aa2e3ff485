/**
 * A store folder that is only looked at: whether a gateway works on it, whether it changed, and a database file that can be opened without
 * a trace. SQLite itself is not asked, because opening a database that has a log makes files beside it.
 */
import { constants, copyFileSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isAlive } from '../../lib/process-alive.ts'
import type { Bytes } from '../../lib/units.ts'
import { DATABASE_FILE, freeBytes, reasonOf } from './folder.ts'
import { StoreOpenError } from './store-open-error.ts'
import { judgeLog } from './write-ahead-log.ts'

export interface Snapshot {
  readonly location: URL | string
  readonly remove: () => void
}

/** `immutable`: SQLite takes no lock, looks for no log and makes no file. With a log that has something in it that would be half of the truth. */
export function takeSnapshot(path: string): Snapshot {
  const database = join(path, DATABASE_FILE)
  const log = `${database}-wal`
  const logBytes = statSync(log, { throwIfNoEntry: false })?.size ?? 0
  if (logBytes === 0 || judgeLog(path) === 'superseded') {
    const location = pathToFileURL(database)
    location.search = '?immutable=1'
    return { location, remove: () => undefined }
  }
  refuseWithoutRoom(path, statSync(database).size + logBytes)
  const folder = mkdtempSync(join(tmpdir(), 'spillway-offline-'))
  const remove = (): void => rmSync(folder, { recursive: true, force: true })
  try {
    for (const file of [database, log])
      copyFileSync(file, join(folder, file === log ? `${DATABASE_FILE}-wal` : DATABASE_FILE), constants.COPYFILE_FICLONE)
    return { location: join(folder, DATABASE_FILE), remove }
  } catch (error) {
    remove()
    throw new StoreOpenError(path, `it cannot be copied to ${tmpdir()}: ${reasonOf(error)}`)
  }
}

function refuseWithoutRoom(path: string, bytes: Bytes): void {
  const free = freeBytes(tmpdir())
  if (free > bytes) return
  const why = 'its gateway was killed and left a log, so a copy is read'
  throw new StoreOpenError(path, `${why}; that takes ${bytes} bytes, and ${tmpdir()} has ${free}. Name another folder with TMPDIR`)
}

/** Of the files that a gateway writes to, as far as the file system tells of changes. */
export function stampOf(path: string): string {
  const names = readdirSync(path).filter((name) => name.startsWith(DATABASE_FILE))
  const stamps = names.sort().map((name) => {
    const { size = 0n, mtimeNs = 0n } = statSync(join(path, name), { bigint: true, throwIfNoEntry: false }) ?? {}
    return `${name} ${size} ${mtimeNs}`
  })
  return stamps.join('\n')
}

/**
 * The pid of the gateway that has the store open; undefined: none has. Asking SQLite would make files, so the kernel is asked: which process
 * holds a lock on the database, else whether the process that wrote its pid there is alive and has the database open.
 */
export function holderOf(path: string): number | undefined {
  const database = join(path, DATABASE_FILE)
  const inode = statSync(database, { throwIfNoEntry: false })?.ino
  const locks = readOr('/proc/locks', '')
  for (const [, pid, file] of locks.matchAll(/^\d+: POSIX\s+\S+\s+WRITE\s+(\d+)\s+[\da-f]+:[\da-f]+:(\d+)\s/gm)) {
    if (Number(file) === inode && Number(pid) > 0 && mayHaveOpen(Number(pid), database)) return Number(pid)
  }
  const written = Number(readOr(join(path, 'gateway.pid'), '').trim())
  return Number.isInteger(written) && written > 0 && isAlive(written) && mayHaveOpen(written, database) ? written : undefined
}

/** Where that cannot be seen it is taken to be so, but for processes of other users: they could not have opened it. */
function mayHaveOpen(pid: number, database: string): boolean {
  const folder = `/proc/${pid}/fd`
  let names: readonly string[]
  try {
    names = readdirSync(folder)
  } catch {
    const user = statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid
    return user === undefined || user === 0 || user === statSync(database).uid
  }
  const real = realpathSync(database)
  return names.some((name) => {
    try {
      return readlinkSync(join(folder, name)) === real
    } catch {
      return false
    }
  })
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return otherwise
  }
}
