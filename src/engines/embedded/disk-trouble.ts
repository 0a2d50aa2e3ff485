/**
 * What an error of SQLite or of the file system means for the store. Only a sync that fails, or a file that is not ours any more, ends it:
 * after that nobody knows what is on the disk. A write that was refused has not happened, and may be tried again.
 */
import { accessSync, constants } from 'node:fs'
import { reasonOf } from './folder.ts'

/** `disk`: it refuses to write. `damage`: something cannot be read. `none`: neither the disk's nor the file's fault. */
export type Trouble = 'fatal' | 'disk' | 'damage' | 'none'

/** The disk or the file is not what it was a moment ago; going on could lose what was promised. */
export class StoreFatalError extends Error {
  override readonly name = 'StoreFatalError'
}

/** SQLite's result codes: the lower byte is the primary one, the rest says more. */
const CORRUPT = 11
const FULL = 13
const NOT_A_DATABASE = 26
const IO = 10
const READ_ONLY = 8
const CANNOT_OPEN = 14
const MOVED = READ_ONLY | (4 << 8)
const IO_DISK: ReadonlySet<number> = new Set([/* write */ IO | (3 << 8), /* truncate */ IO | (6 << 8)])
const IO_DAMAGE: ReadonlySet<number> = new Set([
  /* read */ IO | (1 << 8),
  /* short read */ IO | (2 << 8),
  /* data */ IO | (32 << 8),
  /* corrupt file system */ IO | (33 << 8),
])
const REFUSALS: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'EMFILE', 'ENFILE'])

export function troubleOf(error: unknown): Trouble {
  const { errcode, code = '', syscall } = error as NodeJS.ErrnoException & { readonly errcode?: unknown }
  if (typeof errcode === 'number') return troubleOfSqlite(errcode)
  if (syscall === 'fsync' || syscall === 'fdatasync') return 'fatal'
  if (code === 'EIO') return syscall === 'read' ? 'damage' : 'disk'
  return syscall !== undefined && REFUSALS.has(code) ? 'disk' : 'none'
}

function troubleOfSqlite(code: number): Trouble {
  const primary = code & 0xff
  if (primary === FULL || primary === CANNOT_OPEN || IO_DISK.has(code)) return 'disk'
  if (primary === READ_ONLY) return code === MOVED ? 'fatal' : 'disk'
  if (primary === CORRUPT || IO_DAMAGE.has(code)) return 'damage'
  return primary === IO || primary === NOT_A_DATABASE ? 'fatal' : 'none'
}

/** For who is refused. SQLite does not say why a write failed; the folder may. */
export function refusalText(error: unknown, path: string): string {
  const { errcode, code } = error as NodeJS.ErrnoException & { readonly errcode?: number }
  if (errcode === FULL || code === 'ENOSPC') return 'The disk is full'
  try {
    accessSync(path, constants.W_OK)
  } catch (denied) {
    return `The store cannot be written: ${reasonOf(denied)}`
  }
  return `The store cannot be written: ${reasonOf(error)}`
}
