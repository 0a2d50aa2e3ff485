/**
 * What the soak tests share. Each has a full form (SOAK=1, `npm run soak`), whose bars are those of the project, and a short one that
 * `npm test` runs, which shows that the rig and the structure hold.
 */
import { readdirSync } from 'node:fs'
import { constants, setPriority } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { startChild } from '../support/children.ts'
import type { GatewayProcess } from '../support/gateway-process.ts'

export const FULL: boolean = process.env['SOAK'] === '1'
export const MIB: number = 1 << 20

/** The size or time that a form has: [full, short]. */
export function sized([full, short]: readonly [full: number, short: number]): number {
  return FULL ? full : short
}

/** `npm run soak` prints these lines. */
export function tellFigures(t: TestContext, figures: string): void {
  t.diagnostic(`figures: ${figures}`)
}

export function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** Watches a figure of the gateway while something runs. */
export class Sampler {
  max = Number.NEGATIVE_INFINITY
  readonly #read: () => number | Promise<number>
  readonly #timer: NodeJS.Timeout
  #busy: Promise<void> | undefined

  constructor(everyMs: number, read: () => number | Promise<number>) {
    this.#read = read
    this.#timer = setInterval(() => void this.#sample(), everyMs)
  }

  /** No further look. */
  end(): void {
    clearInterval(this.#timer)
  }

  /** The highest value, a last look included. */
  async stop(): Promise<number> {
    this.end()
    await this.#busy
    await this.#sample()
    return this.max
  }

  #sample(): Promise<void> {
    this.#busy ??= Promise.resolve(this.#read())
      .then((value) => {
        this.max = Math.max(this.max, value)
      })
      .finally(() => {
        this.#busy = undefined
      })
    return this.#busy
  }
}

export function sampleMemory(gateway: GatewayProcess): Sampler {
  return new Sampler(100, () => gateway.rssAnonBytes())
}

/**
 * Puts a process before everything else on this machine, the load itself included: how late it is shall be its own doing. Needs the right
 * to do so; without it the figures hold what others did to the machine.
 */
export function favour(pid: number): void {
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) setPriority(Number(thread), constants.priority.PRIORITY_HIGHEST)
  } catch {
    // Not ours to raise.
  }
}

const PROBE = join(import.meta.dirname, '..', 'support', 'stall-probe-main.ts')

/** A process that does nothing, favoured alike: where it is late too, the machine is, and nothing can be said about the gateway. */
export function startStallProbe(): { readonly stop: () => number } {
  let maxMs = 0
  const child = startChild([process.execPath, PROBE], (line) => {
    maxMs = Math.max(maxMs, Number(line))
  })
  favour(child.pid)
  return {
    stop() {
      child.signal('SIGKILL')
      return maxMs
    },
  }
}
