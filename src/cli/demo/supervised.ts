/**
 * Keeps one process of the demo alive: whatever ends it, it comes back after a while, and both is told. The process has a channel to us and
 * ends when that breaks, so nothing outlives the demo; it is the leader of its own group, so that a Ctrl-C reaches only us.
 */
import type { ChildProcess } from 'node:child_process'
import type { Millis } from '../../lib/units.ts'

export interface Launched {
  readonly process: ChildProcess
  /** Resolves when it can do its work; never rejects. */
  readonly ready: Promise<void>
}

export interface SupervisedOptions {
  readonly name: string
  readonly backAfterMs: Millis
  readonly launch: () => Launched
  readonly say: (line: string) => void
  /** Called with the pid of a process that ended by itself. */
  readonly onEnd?: (pid: number) => void
}

const STOP_PATIENCE_MS = 5000

export class Supervised {
  readonly #options: SupervisedOptions
  #process: ChildProcess | undefined
  #timer: NodeJS.Timeout | undefined
  #isStopping = false
  #pid = 0

  constructor(options: SupervisedOptions) {
    this.#options = options
  }

  /** Of the current process, or of the last one. */
  get pid(): number {
    return this.#pid
  }

  /** False: it ended before it could do its work. */
  async start(): Promise<boolean> {
    const { process, ready } = this.#options.launch()
    this.#process = process
    this.#pid = process.pid ?? 0
    const ended = new Promise<false>((resolve) => {
      process.once('error', () => resolve(false))
      process.once('exit', (code, signal) => {
        resolve(false)
        this.#onExit(signal ?? `exit code ${code}`)
      })
    })
    return await Promise.race([ready.then(() => true), ended])
  }

  #onExit(how: string): void {
    this.#process = undefined
    if (this.#isStopping) return
    const { name, backAfterMs, say, onEnd } = this.#options
    const pid = this.#pid
    say(`${name} ended (pid ${pid}, ${how}); it comes back in ${backAfterMs / 1000} s`)
    onEnd?.(pid)
    this.#timer = setTimeout(() => {
      void this.start().then((isReady) => {
        if (isReady && !this.#isStopping) say(`${name} is back: pid ${this.#pid}`)
      })
    }, backAfterMs)
  }

  /** Ends it, and it stays away. */
  async stop(): Promise<void> {
    this.#isStopping = true
    clearTimeout(this.#timer)
    const process = this.#process
    if (process === undefined) return
    const ended = new Promise<void>((resolve) => process.once('exit', () => resolve()))
    process.kill('SIGTERM')
    const timer = setTimeout(() => process.kill('SIGKILL'), STOP_PATIENCE_MS)
    await ended
    clearTimeout(timer)
  }
}
