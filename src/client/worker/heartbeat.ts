/** The worker's side of its heartbeat: starts the thread, tells it the leases, shows it that this event loop turns. */
import { Worker } from 'node:worker_threads'
import type { FromHeartbeat, HeartbeatData, ToHeartbeat } from './heartbeat-messages.ts'
import { WorkerError } from './outcomes.ts'

export interface HeartbeatOptions extends Omit<HeartbeatData, 'beat'> {
  /** These leases are gone. */
  readonly onLost: (receipts: readonly string[]) => void
  readonly onError: (error: Error) => void
}

/** How often this event loop shows that it turns. */
const BEAT_MS = 250

export class Heartbeat {
  readonly #options: HeartbeatOptions
  readonly #beat = new SharedArrayBuffer(4)
  readonly #leases = new Map<string, number>()
  readonly #timer: NodeJS.Timeout
  #thread: Worker
  #ready: Promise<void>
  #stopped = false
  #lastBeatAt = performance.now()
  /** The longest time since `mark` in which this event loop did not turn. */
  #longestStallMs = 0

  constructor(options: HeartbeatOptions) {
    this.#options = options
    const started = this.#start()
    this.#thread = started.thread
    this.#ready = started.ready
    this.#timer = setInterval(() => this.#turn(), Math.min(BEAT_MS, options.stuckAfterMs / 4))
  }

  /** The thread runs. Before it, a blocked event loop would go unnoticed. */
  get ready(): Promise<void> {
    return this.#ready
  }

  add(leases: readonly { readonly receipt: string; readonly leaseMs: number }[]): void {
    for (const { receipt, leaseMs } of leases) this.#leases.set(receipt, leaseMs)
    this.#send({ kind: 'add', leases })
  }

  remove(receipts: readonly string[]): void {
    for (const receipt of receipts) this.#leases.delete(receipt)
    this.#send({ kind: 'remove', receipts })
  }

  /** From now on `stalledMs` counts anew. */
  mark(): void {
    this.#longestStallMs = 0
  }

  /** The longest time since `mark` for which this event loop was blocked. */
  stalledMs(): number {
    return Math.max(this.#longestStallMs, performance.now() - this.#lastBeatAt)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    await this.#thread.terminate()
  }

  #turn(): void {
    const now = performance.now()
    this.#longestStallMs = Math.max(this.#longestStallMs, now - this.#lastBeatAt)
    this.#lastBeatAt = now
    Atomics.add(new Int32Array(this.#beat), 0, 1)
  }

  #start(): { readonly thread: Worker; readonly ready: Promise<void> } {
    const { onLost: _, onError: _onError, ...rest } = this.#options
    const workerData: HeartbeatData = { ...rest, beat: this.#beat }
    // Run from source or built, the thread's module has the same ending as this one.
    const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    const thread = new Worker(new URL(`./heartbeat-thread.${ending}`, import.meta.url), { workerData, name: 'spillway-heartbeat' })
    let died: unknown
    const ready = new Promise<void>((resolve) => {
      thread.on('message', (message: FromHeartbeat) => {
        if (message.kind === 'ready') resolve()
        else this.#onMessage(message)
      })
      thread.on('error', (error: unknown) => (died = error))
      thread.on('exit', () => {
        resolve()
        if (!this.#stopped) this.#again(died)
      })
    })
    return { thread, ready }
  }

  #onMessage(message: Exclude<FromHeartbeat, { kind: 'ready' }>): void {
    if (message.kind === 'lost') {
      for (const receipt of message.receipts) this.#leases.delete(receipt)
      return this.#options.onLost(message.receipts)
    }
    const detail = `the event loop was blocked for more than ${message.blockedMs} ms; leases were not extended in that time`
    this.#options.onError(new WorkerError('stuck', detail))
  }

  /** It must not happen. Without its thread the worker would lose its leases in silence. */
  #again(cause: unknown): void {
    this.#options.onError(new WorkerError('heartbeat', 'the thread that extends leases ended and is started again', cause))
    setTimeout(() => {
      if (this.#stopped) return
      const started = this.#start()
      this.#thread = started.thread
      this.#ready = started.ready
      this.#send({ kind: 'add', leases: [...this.#leases].map(([receipt, leaseMs]) => ({ receipt, leaseMs })) })
    }, BEAT_MS)
  }

  #send(message: ToHeartbeat): void {
    this.#thread.postMessage(message)
  }
}
