/**
 * SQLite's write-ahead log, read by ourselves. SQLite takes it up to the first frame that fails its checksum and drops the rest without a
 * word, because it cannot tell a torn end from damage in the middle. We can: beside the log stands how much of it was synced.
 * The format is SQLite's (https://www.sqlite.org/fileformat2.html#walformat).
 */
import { closeSync, constants, fsyncSync, openSync, readFileSync, readSync, statSync, truncateSync, writeSync } from 'node:fs'
import { endianness } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { Bytes } from '../../lib/units.ts'
import { DATABASE_FILE } from './folder.ts'

export const LOG_FILE = `${DATABASE_FILE}-wal`
export const LOG_HEADER_BYTES: Bytes = 32
export const FRAME_HEADER_BYTES: Bytes = 24
const MAGIC = 0x377f0682
/** Of the database. A log whose beginning is damaged does not say it. */
export const PAGE_BYTES: Bytes = 4096
/** Which log, and how many of its frames are on the disk for sure. */
const MARK_FILE = `${DATABASE_FILE}-synced`
const MARK_BYTES: Bytes = 20

export interface Mark {
  readonly salts: string
  readonly frames: number
  /** All of them are in the database, synced. */
  readonly merged: boolean
}

export interface LogHeader {
  readonly pageSize: Bytes
  readonly salts: string
  readonly bigEndian: boolean
  readonly checksum: Checksum
}

export interface Frame {
  readonly page: number
  /** Pages of the database after the commit that this frame ends; 0: it ends none. */
  readonly commitPages: number
  readonly data: Uint8Array
  /** It is what was written. Where it is not, those after it are still judged. */
  readonly sound: boolean
}

type Checksum = readonly [number, number]

/** Writes, after a sync, how far the log is synced. The mark itself is not: an older one says less, and nothing wrong. */
export class LogMark {
  readonly #file: number
  readonly #log: number
  #written = ''
  readonly #salts = Buffer.alloc(8)

  constructor(path: string, log: number) {
    this.#file = openSync(join(path, MARK_FILE), constants.O_RDWR | constants.O_CREAT, 0o600)
    this.#log = log
  }

  synced(frames: number): void {
    readSync(this.#log, this.#salts, 0, 8, 16)
    this.#write(this.#salts, frames, false)
  }

  /**
   * All of the log is in the database, so the next commit begins it anew, and a power cut may leave new frames behind the old beginning.
   * That must not look like damage: so this is synced.
   */
  merged(frames: number): void {
    readSync(this.#log, this.#salts, 0, 8, 16)
    this.#write(this.#salts, frames, true)
    fsyncSync(this.#file)
  }

  /** Before the database is closed in order, which removes its log. */
  clear(): void {
    this.#write(Buffer.alloc(8), 0, false)
    fsyncSync(this.#file)
  }

  close(): void {
    closeSync(this.#file)
  }

  #write(salts: Buffer, frames: number, merged: boolean): void {
    const mark = Buffer.alloc(MARK_BYTES)
    salts.copy(mark)
    mark.writeUInt32BE(frames, 8)
    mark.writeUInt32BE(merged ? 1 : 0, 12)
    mark.writeUInt32BE(crc32(mark.subarray(0, MARK_BYTES - 4)), MARK_BYTES - 4)
    const text = mark.toString('hex')
    if (text === this.#written) return
    writeSync(this.#file, mark, 0, MARK_BYTES, 0)
    this.#written = text
  }
}

/**
 * `sound`: as far as one can tell. `superseded`: it is not what it was, but all of it is in the database; taken up to where it is sound, it would
 * put old pages before the database's newer ones, so it must be left out.
 */
export type LogJudgement = 'sound' | 'superseded' | { readonly wrong: string }

export function judgeLog(path: string): LogJudgement {
  const mark = syncedFrames(path)
  if (mark === undefined || mark.frames === 0) return 'sound'
  const log = openLog(path)
  if (log === undefined) {
    return isLogMissed(path) ? { wrong: `its write-ahead log ${LOG_FILE} is missing; the last accepted jobs are in it` } : 'sound'
  }
  try {
    const wrong = wrongWith(log, mark)
    if (wrong === undefined) return 'sound'
    return mark.merged && !goesOn(log, mark) ? 'superseded' : { wrong: `its write-ahead log ${LOG_FILE} ${wrong}` }
  } finally {
    closeSync(log)
  }
}

/** A log that is superseded is emptied, before SQLite looks at it. Says what is wrong otherwise. */
export function settleLog(path: string): string | undefined {
  const judged = judgeLog(path)
  if (judged === 'superseded') truncateSync(join(path, LOG_FILE))
  return typeof judged === 'string' ? undefined : judged.wrong
}

function wrongWith(log: number, mark: Mark): string | undefined {
  const header = readHeader(log)
  if (header === undefined) return 'is damaged at its beginning'
  // It was begun anew since: all that the mark speaks of is in the database.
  if (header.salts !== mark.salts) return undefined
  let at = 0
  for (const { sound } of framesOf(log, header)) {
    at += 1
    if (!sound) return `is damaged: frame ${at} of ${mark.frames} that were synced fails its checksum`
    if (at === mark.frames) return undefined
  }
  return `is too short: ${at} of ${mark.frames} frames that were synced are left`
}

/** Behind what the mark speaks of there is more of the same log. */
function goesOn(log: number, mark: Mark): boolean {
  const header = readHeader(log, mark.salts)
  if (header === undefined) return false
  let at = 0
  for (const { sound } of framesOf(log, { ...header, salts: mark.salts })) {
    at += 1
    if (at > mark.frames) return sound
  }
  return false
}

/** What is known to be synced; undefined: nothing is known. */
export function syncedFrames(path: string): Mark | undefined {
  try {
    const mark = readFileSync(join(path, MARK_FILE))
    const said = MARK_BYTES - 4
    if (mark.length !== MARK_BYTES || mark.readUInt32BE(said) !== crc32(mark.subarray(0, said))) return undefined
    return { salts: mark.toString('hex', 0, 8), frames: mark.readUInt32BE(8), merged: mark.readUInt32BE(12) === 1 }
  } catch {
    return undefined
  }
}

/** undefined: there is none, or nothing in it. */
export function openLog(path: string): number | undefined {
  const file = join(path, LOG_FILE)
  const { size = 0 } = statSync(file, { throwIfNoEntry: false }) ?? {}
  return size === 0 ? undefined : openSync(file, 'r')
}

/**
 * The log is not there, and should be. Any program that opens a database with SQLite and closes it merges the log and removes it; that leaves the
 * database younger than the mark.
 */
export function isLogMissed(path: string): boolean {
  const mark = syncedFrames(path)
  if (mark === undefined || mark.frames === 0 || mark.merged) return false
  const at = (name: string): bigint => statSync(join(path, name), { bigint: true, throwIfNoEntry: false })?.mtimeNs ?? 0n
  return at(DATABASE_FILE) < at(MARK_FILE)
}

/** undefined: it is none, or damaged. `salts`: goes on with them when it is damaged; then the first frame cannot be judged. */
export function readHeader(log: number, salts?: string): LogHeader | undefined {
  const header = Buffer.alloc(LOG_HEADER_BYTES)
  if (readSync(log, header, 0, LOG_HEADER_BYTES, 0) !== LOG_HEADER_BYTES) return undefined
  const assumed = { pageSize: PAGE_BYTES, salts: salts ?? '', bigEndian: endianness() === 'BE', checksum: [0, 0] } as const
  const instead = salts === undefined ? undefined : assumed
  const magic = header.readUInt32BE(0)
  if ((magic & ~1) >>> 0 !== MAGIC) return instead
  const bigEndian = (magic & 1) === 1
  const checksum = summed([0, 0], header.subarray(0, 24), bigEndian)
  if (checksum[0] !== header.readUInt32BE(24) || checksum[1] !== header.readUInt32BE(28)) return instead
  return { pageSize: header.readUInt32BE(8), salts: header.toString('hex', 16, 24), bigEndian, checksum }
}

/**
 * Until the first that is of an older log. A damaged one still says its own checksum, from which the next one's goes on; so damage in the middle
 * does not hide what follows, unless it hit just that number.
 */
export function* framesOf(log: number, { pageSize, salts, bigEndian, checksum }: LogHeader): Generator<Frame> {
  let before = checksum
  for (let at = LOG_HEADER_BYTES; ; at += FRAME_HEADER_BYTES + pageSize) {
    const frame = Buffer.alloc(FRAME_HEADER_BYTES + pageSize)
    if (readSync(log, frame, 0, frame.length, at) !== frame.length) return
    const data = frame.subarray(FRAME_HEADER_BYTES)
    const sum = summed(summed(before, frame.subarray(0, 8), bigEndian), data, bigEndian)
    const said: Checksum = [frame.readUInt32BE(16), frame.readUInt32BE(20)]
    const sound = frame.toString('hex', 8, 16) === salts && sum[0] === said[0] && sum[1] === said[1]
    yield { page: frame.readUInt32BE(0), commitPages: frame.readUInt32BE(4), data, sound }
    before = said
  }
}

function summed([first, second]: Checksum, bytes: Buffer, bigEndian: boolean): Checksum {
  let a = first
  let b = second
  for (let at = 0; at < bytes.length; at += 8) {
    a = (a + (bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at)) + b) >>> 0
    b = (b + (bigEndian ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4)) + a) >>> 0
  }
  return [a, b]
}
