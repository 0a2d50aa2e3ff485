/**
 * The durable engine, synchronous: a ledger over SQLite. One batch of calls is one transaction, and its answers are given only after
 * the commit is synced, where they promise anything. Runs in the store thread; tests run it in theirs.
 */
import { closeSync, fstatSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { Bytes, Millis } from '../../lib/units.ts'
import type { QueueLimits, QueueRules, StoreLimits, Submitted } from '../../ports/job-store.ts'
import type { Call, CallOf, LedgerInfo } from '../ledger/calls.ts'
import { execute, operationsIn, type Reply, replyBytes } from '../ledger/execute.ts'
import { type Context, Ledger } from '../ledger/ledger.ts'
import { Bodies } from './bodies.ts'
import { explained, openDatabase } from './database.ts'
import { StoreFatalError, troubleOf } from './disk-trouble.ts'
import { DiskWatch } from './disk-watch.ts'
import { DATABASE_FILE, freeBytes, reasonOf } from './folder.ts'
import { Scrub, type Wrong } from './scrub.ts'
import { SqliteTables } from './sqlite-tables.ts'
import { StoreOpenError } from './store-open-error.ts'
import { FRAME_HEADER_BYTES, LOG_FILE, LOG_HEADER_BYTES, LogMark, settleLog } from './write-ahead-log.ts'

export interface EngineOptions {
  readonly path: string
  readonly queues: readonly { readonly name: string; readonly limits: QueueLimits; readonly rules?: QueueRules }[]
  readonly limits?: StoreLimits | undefined
  /** With less free space on the disk, nothing is accepted. */
  readonly diskFloorBytes: Bytes
  /** Of the keys that requests and answers may be encrypted with, the one that is used now first. The keys themselves are not for the engine. */
  readonly keyIds?: readonly string[]
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

/** All of the store at one moment, to be copied while it goes on: until `release` the database file stays as it is, and so does this much of its log. */
export interface HeldFiles {
  /** Open descriptors of this process. Nobody but the engine may close them. */
  readonly database: number
  readonly databaseBytes: Bytes
  readonly log: number
  readonly logBytes: Bytes
}

const CHECKPOINT_PAGES = 2048
const TIGHT_CHECKPOINT_PAGES = 64
/** Jobs that are looked at with every tick: some tenths of a millisecond. */
const SCRUB_STEP = 32
/** In one life. A file that is damaged in its structure cannot be mended by this, and each one reads all jobs. */
const REBUILDS_MAX = 3
/** Different things that are wrong, and remembered as said. */
const SAID_MAX = 1000
/** All bodies of a reply are in memory at once, on both sides. */
const REPLY_BYTES_MAX: Bytes = 8 * 1024 * 1024
const SPACE = `SELECT (SELECT page_count FROM pragma_page_count) AS pages, (SELECT freelist_count FROM pragma_freelist_count) AS free,
  (SELECT page_size FROM pragma_page_size) AS size`
/** The log has so much room from the beginning: on a disk that others have filled, what was accepted is still worked off. */
const LOG_ROOM: Bytes = 1024 * 1024
const LOG_ROOM_PIECE: Bytes = 64 * 1024

export class EmbeddedEngine {
  readonly #db: DatabaseSync
  /** The write-ahead log, to sync it. */
  readonly #log: number
  readonly #mark: LogMark
  /** To copy it. Closing it would end the locks that SQLite has on the file (POSIX), so it is closed last. */
  readonly #file: number
  readonly #logSize: StatementSync
  readonly #pages: StatementSync
  readonly #tables: SqliteTables
  readonly #bodies: Bodies
  readonly #scrub: Scrub
  readonly #ledger: Ledger
  readonly #options: EngineOptions
  readonly #events: EngineEvents
  #synchronous = ''
  readonly #disk: DiskWatch
  /** Since the mark was written. */
  #synced = false
  /** In the log after the last commit. */
  #frames = 0
  /** Somebody copies the files. */
  #held = false
  #damageReported = false
  #rebuilds = 0
  #said = new Set<string>()

  /** Throws `StoreOpenError`. */
  constructor(options: EngineOptions, events: EngineEvents, context: Context) {
    this.#options = options
    this.#events = events
    const wrong = settleLog(options.path)
    if (wrong !== undefined) throw new StoreOpenError(options.path, `${wrong}; see: spillway help salvage`)
    this.#db = openDatabase(options.path, options.unsafeNoSync)
    let file: number | undefined
    try {
      this.#bodies = new Bodies(options.path, options.unsafeNoSync)
      this.#tables = new SqliteTables(this.#db, this.#bodies, events.onCorrupt)
      this.#bodies.removeOrphans((kind, seq, file) => this.#tables.refersTo(kind, seq, file))
      this.#log = openSync(join(options.path, LOG_FILE), 'r+')
      this.#mark = new LogMark(options.path, this.#log)
      file = openSync(join(options.path, DATABASE_FILE), 'r')
      this.#file = file
      this.#disk = new DiskWatch(options.path, options.diskFloorBytes, () => this.#writeSomething())
      this.#scrub = new Scrub(this.#db)
      this.#logSize = this.#db.prepare('PRAGMA wal_checkpoint(NOOP)')
      this.#pages = this.#db.prepare(SPACE)
      this.#setSynchronous('FULL')
      this.#db.exec('BEGIN IMMEDIATE')
      noteKeys(this.#tables, options)
      this.#ledger = new Ledger(this.#tables, { queues: options.queues, limits: options.limits, onCorrupt: events.onCorrupt })
      this.#ledger.begin(context)
      this.#ledger.voidOldLeases()
      this.#ledger.commit()
      this.#db.exec('COMMIT')
      this.#frames = this.#logFrames().log
      makeRoom(this.#log)
    } catch (error) {
      this.#db.close()
      if (file !== undefined) closeSync(file)
      throw explained(error, options.path)
    }
  }

  /**
   * Results in the order of the calls. The first call always has one; when the results have become large, the last ones have none and
   * nothing was done for them. Throws `StoreFatalError` when the store cannot go on.
   */
  run(calls: readonly Call[], context: BatchContext): readonly CallResult[] {
    this.#ledger.refuseSubmissions = this.#disk.refusal(calls, context.monotonic)
    try {
      return this.#transaction(calls, context, () => upTo(REPLY_BYTES_MAX, calls, (call) => ({ reply: this.#execute(call) })))
    } catch (error) {
      this.#throwIfFatal(error)
      if (troubleOf(error) === 'disk') {
        this.#disk.refused(error, context.monotonic)
        // What is written back into the database makes room at the beginning of the log.
        this.#writeBack()
      }
      context.startOver()
      // One of them spoiled it for all: each for itself, so that only the guilty ones fail.
      return upTo(REPLY_BYTES_MAX, calls, (call) => this.#runAlone(call, context))
    }
  }

  #execute(call: Call): Reply {
    const reply = execute(this.#ledger, call)
    return call.kind === 'info' ? { ...(reply as LedgerInfo), ...this.#space() } : reply
  }

  #space(): Partial<LedgerInfo> {
    const { pages, free, size } = this.#pages.get() as { pages: number; free: number; size: number }
    return {
      diskBytes: pages * size + this.#bodies.bytes,
      reusableBytes: free * size,
      freeBytes: freeBytes(this.#options.path),
      floorBytes: this.#options.diskFloorBytes,
    }
  }

  /** Writes the log back into the database when it has grown. Called between batches, when no answer waits for it. */
  checkpoint(): void {
    const log = this.#frames
    if (this.#synced) this.#mark.synced(log)
    this.#synced = false
    // While there is some room left the database takes what is in the log: then the log can begin anew, whatever else fills the disk.
    const most = this.#disk.isTight ? TIGHT_CHECKPOINT_PAGES : (this.#options.checkpointPages ?? CHECKPOINT_PAGES)
    if (log > most) this.#writeBack()
  }

  hold(): HeldFiles {
    this.#held = true
    this.#bodies.hold()
    const { log, checkpointed } = this.#logFrames()
    const { size } = this.#pages.get() as { size: number }
    return {
      database: this.#file,
      databaseBytes: fstatSync(this.#file).size,
      log: this.#log,
      // One that is written back as a whole may be begun anew with the next commit; but then nothing of it is needed.
      logBytes: checkpointed === log ? 0 : LOG_HEADER_BYTES + log * (FRAME_HEADER_BYTES + size),
    }
  }

  /** Database and log are copied; the bodies not yet. */
  releaseLog(): void {
    this.#held = false
  }

  release(): void {
    this.#held = false
    this.#bodies.release()
  }

  close(): void {
    this.#mark.clear()
    this.#mark.close()
    closeSync(this.#log)
    this.#db.close()
    closeSync(this.#file)
  }

  #logFrames(): { readonly log: number; readonly checkpointed: number } {
    return this.#logSize.get() as { log: number; checkpointed: number }
  }

  #writeBack(): void {
    if (this.#held) return
    try {
      this.#db.exec('PRAGMA wal_checkpoint(PASSIVE)')
      const { log, checkpointed } = this.#logFrames()
      if (log === checkpointed && this.#options.unsafeNoSync !== true) this.#mark.merged(log)
    } catch (error) {
      // On a full disk the log stays as it is and goes on growing until the disk refuses that too.
      this.#throwIfFatal(error)
    }
  }

  /** Throws what the disk has against it. */
  #writeSomething(): void {
    this.#setSynchronous('NORMAL')
    try {
      this.#db.exec('BEGIN IMMEDIATE')
      this.#tables.saveLastSequence(this.#tables.lastSequence())
      this.#db.exec('COMMIT')
      this.#frames = this.#logFrames().log
    } catch (error) {
      this.#throwIfFatal(error)
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      throw error
    }
  }

  #runAlone(call: Call, context: Context): CallResult {
    if (call.kind === 'submit' && call.jobs.length > 1) return this.#submitAlone(call, context)
    try {
      const [result] = this.#transaction([call], context, () => [{ reply: this.#execute(call) }])
      return result as CallResult
    } catch (error) {
      this.#throwIfFatal(error)
      const trouble = troubleOf(error)
      if (trouble === 'damage') this.#reportDamage(error as Error)
      if (call.kind === 'submit' && trouble === 'disk') return { reply: [{ kind: 'refused', ...this.#disk.refusalFor(error) }] }
      if (call.kind === 'submitWhole' && trouble === 'disk') {
        return { reply: { kind: 'refused', ...this.#disk.refusalFor(error), queue: call.jobs[0]?.queue ?? '' } }
      }
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
    const said = this.#said.size
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
      if (this.#said.size > said) this.#said = new Set([...this.#said].slice(0, said))
      throw error
    }
    if (!promises && (this.#ledger.mustSync || this.#bodies.hasDoomed)) this.#syncNow(done)
    this.#bodies.committed()
    return results
  }

  #lookForDamage(): void {
    const wrong = this.#nextWrong()
    // What could not be mended is met again and again, and said once.
    if (wrong === undefined || this.#said.has(wrong.what) || this.#said.size === SAID_MAX) return
    this.#said.add(wrong.what)
    if (!wrong.mendable) return this.#events.onCorrupt(wrong.what)
    this.#rebuilds += 1
    if (this.#rebuilds > REBUILDS_MAX) return this.#events.onCorrupt(`${wrong.what}; making the indexes anew has not helped`)
    this.#events.onCorrupt(`${wrong.what}; all indexes are made anew`)
    this.#ledger.rebuildIndexes()
  }

  /** A page that cannot be read must not stop the clockwork, which this is a part of. */
  #nextWrong(): Wrong | undefined {
    try {
      return this.#scrub.step(SCRUB_STEP)
    } catch (error) {
      if (troubleOf(error) !== 'damage') throw error
      this.#reportDamage(error as Error)
      return undefined
    }
  }

  #commit(synced: boolean, calls: readonly Call[]): void {
    const before = performance.now()
    this.#db.exec('COMMIT')
    const frames = this.#frames
    this.#frames = this.#logFrames().log
    // A commit of nothing syncs nothing, not even what was committed before it.
    if (!synced || this.#frames === frames) return
    this.#synced = this.#options.unsafeNoSync !== true
    this.#events.onSync(performance.now() - before, countOperations(calls))
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
    this.#synced = true
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

  #throwIfFatal(error: unknown): void {
    if (error instanceof StoreFatalError) throw error
    if (troubleOf(error) !== 'fatal') return
    throw new StoreFatalError(`the store cannot go on: ${reasonOf(error)}`, { cause: error })
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
  if (call.kind === 'command') return call.commands.some(({ kind }) => kind !== 'progress')
  return call.kind === 'submit' || call.kind === 'submitWhole' || call.kind === 'settle'
}

function countOperations(calls: readonly Call[]): number {
  return calls.reduce((sum, call) => sum + operationsIn(call), 0)
}

/** Best effort: without it the store is as good, on every disk that is not full. */
function makeRoom(log: number): void {
  try {
    for (let at = fstatSync(log).size; at < LOG_ROOM; at += LOG_ROOM_PIECE) {
      writeSync(log, Buffer.alloc(Math.min(LOG_ROOM_PIECE, LOG_ROOM - at)), 0, undefined, at)
    }
  } catch {}
}

/** In the notes stands which keys anything may be encrypted with. Without one of them its jobs would all become dead letters, so it does not open. */
export const KEY_NOTE = 'sealed-by/'

function noteKeys(tables: SqliteTables, { path, keyIds = [] }: EngineOptions): void {
  const used = tables.notes(KEY_NOTE).map(({ name }) => name.slice(KEY_NOTE.length))
  const missing = used.filter((id) => !keyIds.includes(id))
  if (missing.length > 0) {
    const which = missing.length === 1 ? `the key ${missing[0]}, which is` : `the keys ${missing.join(', ')}, which are`
    throw new StoreOpenError(path, `requests and answers in it are encrypted with ${which} not configured; see store.encryption.keys`)
  }
  const [first] = keyIds
  if (first !== undefined && !used.includes(first)) tables.putNote(KEY_NOTE + first, '')
}
