/**
 * Checks of servers, shared: whoever wants the same asked of the same address gets the answers to one question. It is asked as often as the one needs
 * who needs it most often, and no more when nobody does.
 */
import type { ProbeResult } from '../core/health/health.ts'
import type { Opening } from '../net/dialling.ts'
import { probe, type ProbePorts, type ProbeTarget } from '../net/probe.ts'
import type { Millis } from '../lib/units.ts'
import type { Timer } from '../ports/clock.ts'

export interface Watcher {
  /** How its connections begin, at each of them; undefined: with TCP alone. */
  opening(): Opening | undefined
  /** Until it wants the next one. */
  nextMs(): Millis
  told(result: ProbeResult, tookMs: Millis): void
}

export interface Watching {
  /** Unless one is under way. */
  now(): void
  /** As all who watch it want it now. */
  later(): void
  end(): void
}

export class Probers {
  readonly #ports: ProbePorts
  readonly #probers = new Map<string, Prober>()
  #own = 0

  constructor(ports: ProbePorts) {
    this.#ports = ports
  }

  /** Questions that are asked. */
  get size(): number {
    return this.#probers.size
  }

  watch(target: ProbeTarget, watcher: Watcher): Watching {
    // What begins in a way of its own is a question of its own.
    const own = watcher.opening() === undefined ? '' : `${++this.#own} `
    const key = own + JSON.stringify(target, Object.keys(target).sort())
    const prober = this.#probers.get(key) ?? new Prober(target, this.#ports)
    this.#probers.set(key, prober)
    prober.watchers.add(watcher)
    return {
      now: () => prober.now(),
      later: () => prober.later(),
      end: () => {
        prober.watchers.delete(watcher)
        if (prober.watchers.size > 0 || this.#probers.get(key) !== prober) return
        this.#probers.delete(key)
        prober.close()
      },
    }
  }
}

class Prober {
  readonly watchers = new Set<Watcher>()
  readonly #target: ProbeTarget
  readonly #ports: ProbePorts
  #running = false
  #timer: Timer | undefined
  #closed = false

  constructor(target: ProbeTarget, ports: ProbePorts) {
    this.#target = target
    this.#ports = ports
  }

  now(): void {
    if (this.#running || this.#closed) return
    this.#running = true
    this.#timer?.cancel()
    const { clock } = this.#ports
    const begunAt = clock.monotonic()
    const [watcher] = this.watchers
    void probe({ ...this.#target, opening: watcher?.opening() }, this.#ports).then((result) => {
      this.#running = false
      const tookMs = clock.monotonic() - begunAt
      for (const watcher of this.watchers) watcher.told(result, tookMs)
      this.later()
    })
  }

  later(): void {
    this.#timer?.cancel()
    if (this.#running || this.#closed || this.watchers.size === 0) return
    const delayMs = Math.min(...[...this.watchers].map((watcher) => watcher.nextMs()))
    this.#timer = this.#ports.clock.after(delayMs, () => this.now())
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }
}
