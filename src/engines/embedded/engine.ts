/**
 * The durable engine, synchronous: a ledger over SQLite. One batch of calls is one transaction, and its answers are given only after
 * the commit is synced, where they promise anything. Runs in the store thread; tests run it in theirs.
 */
import { closeSync, fsyncSync, openSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { Bytes, Millis } from '../../lib/units.ts'
import type { QueueLimits, QueueRules, Submitted } from '../../ports/job-store.ts'
import type { Call, CallOf, LedgerInfo } from '../ledger/calls.ts'
import { execute, operationsIn, type Reply, replyBytes } from '../ledger/execute.ts'
import { type Context, Ledger } from '../ledger/ledger.ts'
import { payloadBytes } from '../ledger/tables.ts'
import { Bodies } from './bodies.ts'
import { DATABASE_FILE, freeBytes, reasonOf } from './folder.ts'
import { explained, openDatabase } from './database.ts'
import { Scrub } from './scrub.ts'
import { SqliteTables } from './sqlite-tables.ts'

export interface EngineOptions {
  readonly path: string
  readonly queues: readonly { readonly name: string; readonly limits: QueueLimits; readonly rules?: QueueRules }[]
  /** With less free space on the disk, nothing is accepted. */
  readonly diskFloorBytes: Bytes
  /** Pages in the write-ahead log above which it is written back into the database. Default 2048: 8 MiB. */
  readonly checkpointPages?: number
  /** Nothing is synced. Only for tests: to be quick, and to prove that the power-cut rig can fail. */
  readonly unsafeNoSync?: boolean
}

export interface EngineEvents {
  readonly onSync: (took: Millis, operations: number) => void
  readonly onCorrupt: (what: string) => void
}

export type CallResult = { readonly reply: Reply } | { readonly error: string }

export interface BatchContext extends Context {
  /** Nothing of what was done with the secrets remains: they may serve again. */
  startOver(): void
}

/** The disk or the file is not what it was a moment ago; going on could lose what was promised. */
export class StoreFatalError extends Error {
  override readonly name = 'StoreFatalError'
}

const CHECKPOINT_PAGES = 2048
/** Jobs that are looked at with every tick: some tenths of a millisecond. */
const SCRUB_STEP = 32
/** In one life. A file that is damaged in its structure cannot be mended by this, and each one reads all jobs. */
const REBUILDS_MAX = 3
const FREE_SPACE_CHECK_MS = 100
const FREE_SPACE_CHECK_BYTES = 4 * 1024 * 1024
/** All bodies of a reply are in memory at once, on both sides. */
const REPLY_BYTES_MAX: Bytes = 8 * 1024 * 1024
const SPACE = `SELECT (SELECT page_count FROM pragma_page_count) AS pages, (SELECT freelist_count FROM pragma_freelist_count) AS free,
  (SELECT page_size FROM pragma_page_size) AS size`
/** SQLite's primary result codes. */
const SQLITE_CORRUPT = 11
const SQLITE_FULL = 13
const FATAL_CODES: ReadonlySet<number> = new Set([/* IOERR */ 10, /* CANTOPEN */ 14, /* READONLY */ 8, /* NOTADB */ 26])

export class EmbeddedEngine {
  readonly #db: DatabaseSync
  /** The write-ahead log, to sync it. */
  readonly #log: number
  readonly #logSize: StatementSync
  readonly #space: StatementSync
  readonly #tables: SqliteTables
  readonly #bodies: Bodies
  readonly #scrub: Scrub
  readonly #ledger: Ledger
  readonly #options: EngineOptions
  readonly #events: EngineEvents
  #synchronous = ''
  #freeCheckedAt = Number.NEGATIVE_INFINITY
  #bytesSinceFreeCheck = 0
  #damageReported = false
  #rebuilds = 0
  #lastWrong = ''

  /** Throws `StoreOpenError`. */
  constructor(options: EngineOptions, events: EngineEvents, context: Context) {
    this.#options = options
    this.#events = events
    this.#db = openDatabase(options.path)
    try {
      this.#bodies = new Bodies(options.path)
      this.#tables = new SqliteTables(this.#db, this.#bodies, events.onCorrupt)
      this.#bodies.removeOrphans((kind, seq) => this.#tables.refersToBody(kind, seq))
      this.#log = openSync(join(options.path, `${DATABASE_FILE}-wal`), 'r+')
      this.#scrub = new Scrub(this.#db)
      this.#logSize = this.#db.prepare('PRAGMA wal_checkpoint(NOOP)')
      this.#space = this.#db.prepare(SPACE)
      this.#setSynchronous('FULL')
      this.#db.exec('BEGIN IMMEDIATE')
      this.#ledger = new Ledger(this.#tables, { queues: options.queues, onCorrupt: events.onCorrupt })
      this.#ledger.begin(context)
      this.#ledger.voidOldLeases()
      this.#ledger.commit()
      this.#db.exec('COMMIT')
    } catch (error) {
      this.#db.close()
      throw explained(error, options.path)
    }
  }

  /**
   * Results in the order of the calls. The first call always has one; when the results have become large, the last ones have none and
   * nothing was done for them. Throws `StoreFatalError` when the store cannot go on.
   */
  run(calls: readonly Call[], context: BatchContext): readonly CallResult[] {
    this.#checkFreeSpace(calls, context)
    try {
      return this.#transaction(calls, context, () => upTo(REPLY_BYTES_MAX, calls, (call) => ({ reply: this.#execute(call) })))
    } catch (error) {
      this.#throwIfFatal(error)
      context.startOver()
      // One of them spoiled it for all: each for itself, so that only the guilty ones fail.
      return upTo(REPLY_BYTES_MAX, calls, (call) => this.#runAlone(call, context))
    }
  }

  #execute(call: Call): Reply {
    const reply = execute(this.#ledger, call)
    return call.kind === 'info' ? { ...(reply as LedgerInfo), ...this.#disk() } : reply
  }

  #disk(): Partial<LedgerInfo> {
    const { pages, free, size } = this.#space.get() as { pages: number; free: number; size: number }
    return {
      diskBytes: pages * size + this.#bodies.bytes,
      reusableBytes: free * size,
      freeBytes: freeBytes(this.#options.path),
      floorBytes: this.#options.diskFloorBytes,
    }
  }

  /** Writes the log back into the database when it has grown. Called between batches, when no answer waits for it. */
  checkpoint(): void {
    try {
      const { log } = this.#logSize.get() as { log: number }
      if (log > (this.#options.checkpointPages ?? CHECKPOINT_PAGES)) this.#db.exec('PRAGMA wal_checkpoint(PASSIVE)')
    } catch (error) {
      // On a full disk the log stays as it is and goes on growing until the disk refuses that too.
      this.#throwIfFatal(error)
    }
  }

  close(): void {
    closeSync(this.#log)
    this.#db.close()
  }

  #runAlone(call: Call, context: Context): CallResult {
    if (call.kind === 'submit' && call.jobs.length > 1) return this.#submitAlone(call, context)
    try {
      const [result] = this.#transaction([call], context, () => [{ reply: this.#execute(call) }])
      return result as CallResult
    } catch (error) {
      this.#throwIfFatal(error)
      if (primaryCode(error) === SQLITE_CORRUPT) this.#reportDamage(error as Error)
      if (call.kind === 'submit' && isDiskFull(error)) return { reply: [diskRefusal('The disk is full')] }
      return { error: error instanceof Error ? error.message : String(error) }
    }
  }

  /** Once: whatever touches the damaged page will say the same. */
  #reportDamage(error: Error): void {
    if (!this.#damageReported) this.#events.onCorrupt(`the database is damaged: ${error.message}`)
    this.#damageReported = true
  }

  #submitAlone(call: CallOf<'submit'>, context: Context): CallResult {
    const submitted: Submitted[] = []
    for (const job of call.jobs) {
      const result = this.#runAlone({ kind: 'submit', jobs: [job] }, context)
      if ('error' in result) return result
      submitted.push(...(result.reply as readonly Submitted[]))
    }
    return { reply: submitted }
  }

  /** `work` gives the results of the first so many calls; of the others nothing was done. */
  #transaction(calls: readonly Call[], context: Context, work: () => readonly CallResult[]): readonly CallResult[] {
    const promises = calls.some(needsSync)
    const lastWrong = this.#lastWrong
    this.#setSynchronous(promises ? 'FULL' : 'NORMAL')
    this.#ledger.begin(context)
    // Deferred: a batch that only reads takes no write transaction.
    this.#db.exec('BEGIN')
    let done: readonly Call[]
    let results: readonly CallResult[]
    try {
      if (calls.some(({ kind }) => kind === 'tick')) this.#lookForDamage()
      results = work()
      done = calls.slice(0, results.length)
      this.#ledger.commit()
      this.#bodies.sync()
      this.#commit(promises, done)
    } catch (error) {
      // Before anything else is asked of the file.
      this.#throwIfFatal(error)
      this.#rollback()
      // What was mended is as it was.
      this.#lastWrong = lastWrong
      throw error
    }
    if (!promises && (this.#ledger.mustSync || this.#bodies.hasDoomed)) this.#syncNow(done)
    this.#bodies.committed()
    return results
  }

  #lookForDamage(): void {
    const wrong = this.#scrub.step(SCRUB_STEP)
    // What could not be mended is met again and again, and said once.
    if (wrong === undefined || wrong === this.#lastWrong) return
    this.#lastWrong = wrong
    this.#rebuilds += 1
    if (this.#rebuilds > REBUILDS_MAX) return this.#events.onCorrupt(`${wrong}; making the indexes anew has not helped`)
    this.#events.onCorrupt(`${wrong}; all indexes are made anew`)
    this.#ledger.rebuildIndexes()
  }

  #commit(synced: boolean, calls: readonly Call[]): void {
    const before = performance.now()
    this.#db.exec('COMMIT')
    if (synced) this.#events.onSync(performance.now() - before, countOperations(calls))
  }

  /**
   * The sync of a transaction that was committed without one: whether it would promise anything was not known before.
   * It needs no space on the disk, so what has been done cannot fail for want of any.
   */
  #syncNow(calls: readonly Call[]): void {
    if (this.#options.unsafeNoSync === true) return
    const before = performance.now()
    try {
      fsyncSync(this.#log)
    } catch (error) {
      throw new StoreFatalError(`the store cannot go on: ${reasonOf(error)}`, { cause: error })
    }
    this.#events.onSync(performance.now() - before, countOperations(calls))
  }

  #rollback(): void {
    // Some errors make SQLite roll back by itself.
    if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
    this.#bodies.rolledBack()
    this.#tables.reload()
    this.#ledger.rollback()
  }

  #setSynchronous(wanted: 'FULL' | 'NORMAL'): void {
    const mode = this.#options.unsafeNoSync === true ? 'OFF' : wanted
    if (mode === this.#synchronous) return
    this.#db.exec(`PRAGMA synchronous = ${mode}`)
    this.#synchronous = mode
  }

  /** Before the disk is full for all, it is full for new jobs. */
  #checkFreeSpace(calls: readonly Call[], context: Context): void {
    let bytes = 0
    for (const call of calls) if (call.kind === 'submit') for (const job of call.jobs) bytes += payloadBytes(job.request)
    if (bytes === 0) return
    this.#bytesSinceFreeCheck += bytes
    const stale = context.monotonic - this.#freeCheckedAt >= FREE_SPACE_CHECK_MS || context.monotonic < this.#freeCheckedAt
    if (!stale && this.#bytesSinceFreeCheck < FREE_SPACE_CHECK_BYTES) return
    this.#freeCheckedAt = context.monotonic
    this.#bytesSinceFreeCheck = bytes
    const free = freeBytes(this.#options.path)
    const floor = this.#options.diskFloorBytes
    const low = free - bytes < floor
    this.#ledger.refuseSubmissions = low ? diskRefusal(`${free} bytes are free on the disk; ${floor} are kept in reserve`) : undefined
  }

  #throwIfFatal(error: unknown): void {
    if (error instanceof StoreFatalError) throw error
    const code = primaryCode(error)
    const systemCode = (error as NodeJS.ErrnoException).code
    if ((code === undefined || !FATAL_CODES.has(code)) && systemCode !== 'EIO' && systemCode !== 'EROFS') return
    throw new StoreFatalError(`the store cannot go on: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

/** The results of the calls from the front, until they weigh more than `max`; at least one. */
function upTo(max: Bytes, calls: readonly Call[], resultOf: (call: Call) => CallResult): readonly CallResult[] {
  const results: CallResult[] = []
  let bytes = 0
  for (const call of calls) {
    const result = resultOf(call)
    results.push(result)
    if ('reply' in result) bytes += replyBytes(call, result.reply)
    if (bytes > max) break
  }
  return results
}

/** These promise that what they did is kept. */
function needsSync(call: Call): boolean {
  return (
    call.kind === 'submit' || call.kind === 'settle' || (call.kind === 'command' && call.commands.some(({ kind }) => kind !== 'progress'))
  )
}

function countOperations(calls: readonly Call[]): number {
  return calls.reduce((sum, call) => sum + operationsIn(call), 0)
}

function diskRefusal(detail: string): { readonly kind: 'refused'; readonly limit: string; readonly detail: string } {
  return { kind: 'refused', limit: 'disk', detail }
}

function primaryCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown }).errcode
  return typeof code === 'number' ? code & 0xff : undefined
}

function isDiskFull(error: unknown): boolean {
  return primaryCode(error) === SQLITE_FULL || ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')
}
