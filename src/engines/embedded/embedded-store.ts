/**
 * The `embedded` engine as the gateway sees it. The thread that serves sockets never touches the disk: calls are collected, one batch is
 * with the store thread at a time, and whatever arrives meanwhile is the next one. So the more there is to do, the more share a sync,
 * and nobody waits for a batch to fill.
 */
import { Worker } from 'node:worker_threads'
import type { Bytes } from '../../lib/units.ts'
import type { Clock, Random } from '../../ports/clock.ts'
import type { JobStore, Maintenance, MaintenanceReport, QueueLimits, QueueRules, StoreEvents, StoreLimits } from '../../ports/job-store.ts'
import type { Call, CallKind, CallOf, ReplyByKind } from '../ledger/calls.ts'
import { operationsIn, type Reply, secretsNeeded } from '../ledger/execute.ts'
import { type Executor, jobStoreOver } from '../ledger/job-store-over.ts'
import { Sealer, type SealingKey } from '../ledger/sealed.ts'
import { sealedExecutor } from '../ledger/sealed-executor.ts'
import { BlobFiles } from './blob-files.ts'
import type { EngineOptions, HeldFiles } from './engine.ts'
import { MaintenanceDesk } from './maintenance.ts'
import { StoreOpenError } from './store-open-error.ts'
import type { FromThread, ThreadData, ToThread } from './thread-messages.ts'
import { type BatchReply, callBytes, decodeReply, encodeBatch, type Notice, SECRET_BYTES } from './wire.ts'

export interface EmbeddedStoreOptions {
  /** Folder; made if it is not there. */
  readonly path: string
  readonly clock: Clock
  readonly random: Random
  readonly queues: readonly { readonly name: string; readonly limits: QueueLimits; readonly rules?: QueueRules }[]
  readonly events: StoreEvents
  readonly limits?: StoreLimits
  /** With less free space on the disk, nothing is accepted. Default 64 MiB. */
  readonly diskFloorBytes?: Bytes
  /** Requests and answers are encrypted with the first, and read with all. */
  readonly encryption?: { readonly keys: readonly SealingKey[] }
}

const DISK_FLOOR_BYTES: Bytes = 64 * 1024 * 1024
/** A batch that is longer or larger makes all its callers wait for the whole of it, and is in memory twice. */
const BATCH_OPERATIONS_MAX = 1000
const BATCH_BYTES_MAX: Bytes = 8 * 1024 * 1024

/**
 * The store thread keeps little and throws much away. Left to itself its heap grows to hundreds of megabytes of garbage; bounded, it
 * stays at some forty and is no slower. What it does need grows by 8 bytes for each ready job.
 */
const HEAP_LIMITS = { maxYoungGenerationSizeMb: 32, maxOldGenerationSizeMb: 512 }

/** Rejects with `StoreOpenError`. */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<JobStore> {
  const { path, queues, clock } = options
  const keys = options.encryption?.keys ?? []
  const sealer = keys.length === 0 ? undefined : new Sealer(keys, options.random)
  const keyIds = keys.map(({ id }) => id)
  const engine: EngineOptions = { path, queues, limits: options.limits, diskFloorBytes: options.diskFloorBytes ?? DISK_FLOOR_BYTES, keyIds }
  const data: ThreadData = { options: engine, moment: { now: clock.now(), monotonic: clock.monotonic() } }
  // Run from source or built, the thread's module has the same ending as this one.
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const worker = new Worker(new URL(`./store-thread.${ending}`, import.meta.url), {
    workerData: data,
    name: 'store',
    resourceLimits: HEAP_LIMITS,
  })
  const onCorrupt = (what: string): void => options.events.onCorrupt?.(what)
  const isKept = async (id: string): Promise<boolean> => (await client.call({ kind: 'read', ids: [id], want: 'status' }))[0] !== undefined
  const blobs = new BlobFiles({ storePath: path, random: options.random, floorBytes: engine.diskFloorBytes, onCorrupt, isKept })
  const client = new Client(worker, options, blobs)
  await client.opened
  return jobStoreOver(sealer === undefined ? client : sealedExecutor(client, sealer, onCorrupt))
}

interface Waiting {
  readonly call: Call
  resolve(reply: Reply): void
  reject(error: Error): void
}

class Client implements Executor {
  readonly engine = 'embedded'
  readonly opened: Promise<void>
  readonly blobs: BlobFiles
  readonly #worker: Worker
  readonly #options: EmbeddedStoreOptions
  readonly #settleOpened: { resolve(): void; reject(error: Error): void }
  readonly #exited: Promise<void>
  #waiting: Waiting[] = []
  #inFlight: readonly Waiting[] | undefined
  readonly #desk: MaintenanceDesk
  #holding: { resolve(files: HeldFiles): void; reject(error: Error): void } | undefined
  #scheduled = false
  /** Why no more calls are taken. */
  #refusal: Error | undefined
  #closing = false
  #fatalError: Error | undefined

  constructor(worker: Worker, options: EmbeddedStoreOptions, blobs: BlobFiles) {
    this.#worker = worker
    this.blobs = blobs
    this.#options = options
    const opened = Promise.withResolvers<void>()
    this.opened = opened.promise
    this.#settleOpened = opened
    const { path: storePath, diskFloorBytes: floorBytes = DISK_FLOOR_BYTES, clock } = options
    const lender = { hold: () => this.#hold(), release: (what: 'log' | 'all') => this.#release(what) }
    this.#desk = new MaintenanceDesk(lender, { storePath, floorBytes, now: () => clock.now() })
    const exited = Promise.withResolvers<void>()
    this.#exited = exited.promise
    worker.on('message', (message: FromThread) => this.#receive(message))
    worker.on('error', (error) => this.#fatal(new Error(`the store thread failed: ${error.message}`, { cause: error })))
    worker.on('exit', () => {
      if (this.#refusal === undefined || this.#inFlight !== undefined) this.#fatal(new Error('the store thread ended'))
      exited.resolve()
    })
  }

  /** Finishes what was asked before. */
  async close(): Promise<void> {
    this.#refusal ??= new Error('the store is closed')
    await this.#desk.close()
    await this.blobs.close()
    this.#closing = true
    this.#closeWhenIdle()
    await this.#exited
  }

  call<K extends CallKind>(call: CallOf<K> & Call): Promise<ReplyByKind[K]> {
    const asked: Call = call
    const reply =
      asked.kind === 'read' && (asked.want === 'result' || asked.want === 'request') ? this.#readOneByOne(asked) : this.#ask(asked)
    return reply as Promise<ReplyByKind[K]>
  }

  maintain(work: Maintenance): Promise<MaintenanceReport> {
    return this.#refusal === undefined ? this.#desk.run(work) : Promise.reject(this.#refusal)
  }

  #hold(): Promise<HeldFiles> {
    const { promise, resolve, reject } = Promise.withResolvers<HeldFiles>()
    this.#holding = { resolve, reject }
    this.#post({ kind: 'hold' })
    return promise
  }

  #release(what: 'log' | 'all'): void {
    this.#post({ kind: 'release', what })
  }

  /** So that how many results travel at once depends on their size, not on who asked for them together. */
  async #readOneByOne(call: CallOf<'read'>): Promise<Reply> {
    const reads = await Promise.all(call.ids.map((id) => this.#ask({ ...call, ids: [id] })))
    return reads.flat() as ReplyByKind['read']
  }

  #ask(call: Call): Promise<Reply> {
    if (this.#refusal !== undefined) return Promise.reject(this.#refusal)
    const { promise, resolve, reject } = Promise.withResolvers<Reply>()
    this.#waiting.push({ call, resolve, reject })
    this.#schedule()
    return promise
  }

  /** At the end of this turn of the loop, so that all that came in with it goes together. */
  #schedule(): void {
    if (this.#scheduled || this.#inFlight !== undefined) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#send()
    })
  }

  #send(): void {
    if (this.#inFlight !== undefined || this.#waiting.length === 0) return
    const batch = this.#takeBatch()
    const calls = batch.map(({ call }) => call)
    const { clock, random } = this.#options
    const secrets = random.bytes(calls.reduce((sum, call) => sum + secretsNeeded(call), 0) * SECRET_BYTES)
    const encoded = encodeBatch(calls, { now: clock.now(), monotonic: clock.monotonic() }, secrets)
    this.#inFlight = batch
    this.#post({ kind: 'batch', batch: encoded }, [encoded.bytes])
  }

  /** From the front of what waits, at least one. */
  #takeBatch(): readonly Waiting[] {
    let operations = 0
    let bytes = 0
    let taken = 0
    for (const { call } of this.#waiting) {
      operations += operationsIn(call)
      bytes += callBytes(call)
      if (taken > 0 && (operations > BATCH_OPERATIONS_MAX || bytes > BATCH_BYTES_MAX)) break
      taken += 1
    }
    return this.#waiting.splice(0, taken)
  }

  #receive(message: FromThread): void {
    switch (message.kind) {
      case 'open':
        this.#tell(message.notices)
        return this.#settleOpened.resolve()
      case 'open-failed':
        this.#refusal = new StoreOpenError(this.#options.path, message.reason)
        return this.#settleOpened.reject(this.#refusal)
      case 'reply':
        return this.#answer(message.reply)
      case 'held':
        return this.#holding?.resolve(message.files)
      case 'not-held':
        return this.#holding?.reject(new Error(message.reason))
      case 'fatal':
        return this.#fatal(new Error(message.message))
    }
  }

  #answer(reply: BatchReply): void {
    const batch = this.#inFlight ?? []
    this.#inFlight = undefined
    const results = decodeReply(
      reply,
      batch.map(({ call }) => call),
    )
    // Where the answers are large there are not all of them; the others are asked for again, and are still the first.
    const answered = Math.max(1, results.length)
    if (answered < batch.length) this.#waiting.unshift(...batch.slice(answered))
    // What waits goes first: the store thread works while the answers are handed on.
    this.#send()
    batch.slice(0, answered).forEach((waiting, at) => settle(waiting, results[at]))
    this.#tell(reply.notices)
    this.#closeWhenIdle()
  }

  #closeWhenIdle(): void {
    if (!this.#closing || this.#inFlight !== undefined || this.#waiting.length > 0) return
    this.#closing = false
    this.#post({ kind: 'close' })
  }

  #tell(notices: readonly Notice[]): void {
    for (const notice of notices) {
      if (notice.kind === 'sync') this.#options.events.onSync?.(notice.took, notice.operations)
      else this.#options.events.onCorrupt?.(notice.what)
    }
  }

  #fatal(error: Error): void {
    if (this.#fatalError !== undefined) return
    this.#fatalError = error
    this.#refusal = error
    this.#settleOpened.reject(error)
    this.#holding?.reject(error)
    void this.#desk.close()
    const lost = [...(this.#inFlight ?? []), ...this.#waiting]
    this.#inFlight = undefined
    this.#waiting = []
    for (const waiting of lost) waiting.reject(error)
    this.#options.events.onFatal?.(error)
  }

  #post(message: ToThread, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer)
  }
}

function settle(waiting: Waiting, result: { readonly reply: Reply } | { readonly error: string } | undefined): void {
  if (result === undefined) waiting.reject(new Error('the store thread gave no answer'))
  else if ('error' in result) waiting.reject(new Error(result.error))
  else waiting.resolve(result.reply)
}
