/**
 * Whether the disk takes new jobs: before it is full for all, it is full for them; and while it refuses to write they are refused with the
 * reason, until a small write succeeds again. Nothing has to be restarted for that.
 */
import type { Bytes, Millis, MonotonicMillis } from '../../lib/units.ts'
import type { Refusal } from '../ledger/acts.ts'
import type { Call } from '../ledger/calls.ts'
import { payloadBytes } from '../ledger/tables.ts'
import { refusalText, StoreFatalError } from './disk-trouble.ts'
import { freeBytes, reasonOf } from './folder.ts'

const FREE_SPACE_CHECK_MS: Millis = 100
const FREE_SPACE_CHECK_BYTES: Bytes = 4 * 1024 * 1024
const PROBE_MS: Millis = 250

export class DiskWatch {
  readonly #path: string
  readonly #floorBytes: Bytes
  /** A small write; throws what stands against it. */
  readonly #probe: () => void
  #low: Refusal | undefined
  #refused: { readonly refusal: Refusal; readonly at: MonotonicMillis } | undefined
  #checkedAt: MonotonicMillis = Number.NEGATIVE_INFINITY
  #bytesSince: Bytes = 0

  constructor(path: string, floorBytes: Bytes, probe: () => void) {
    this.#path = path
    this.#floorBytes = floorBytes
    this.#probe = probe
  }

  /** There is little room, or none. */
  get isTight(): boolean {
    return this.#low !== undefined || this.#refused !== undefined
  }

  /** Why these calls may bring no new jobs. */
  refusal(calls: readonly Call[], now: MonotonicMillis): Refusal | undefined {
    if (this.#refused !== undefined && isPast(this.#refused.at, PROBE_MS, now)) this.#tryAgain(now)
    this.#checkFree(calls, now)
    return this.#refused?.refusal ?? this.#low
  }

  /** The disk has refused a write. */
  refused(error: unknown, now: MonotonicMillis): void {
    this.#refused = { refusal: this.refusalFor(error), at: now }
  }

  refusalFor(error: unknown): Refusal {
    return { limit: 'disk', detail: refusalText(error, this.#path) }
  }

  #tryAgain(now: MonotonicMillis): void {
    try {
      this.#probe()
      this.#refused = undefined
    } catch (error) {
      if (error instanceof StoreFatalError) throw error
      this.refused(error, now)
    }
  }

  #checkFree(calls: readonly Call[], now: MonotonicMillis): void {
    const bytes = calls.reduce((sum, call) => sum + newBytes(call), 0)
    if (bytes === 0 && !calls.some(({ kind }) => kind === 'info' || kind === 'tick')) return
    this.#bytesSince += bytes
    if (!isPast(this.#checkedAt, FREE_SPACE_CHECK_MS, now) && this.#bytesSince < FREE_SPACE_CHECK_BYTES) return
    this.#checkedAt = now
    this.#bytesSince = bytes
    this.#low = this.#lowSpace(bytes)
  }

  #lowSpace(bytes: Bytes): Refusal | undefined {
    let free: Bytes
    try {
      free = freeBytes(this.#path)
    } catch (error) {
      return { limit: 'disk', detail: `The free space on the disk cannot be read: ${reasonOf(error)}` }
    }
    if (free - bytes >= this.#floorBytes) return undefined
    return { limit: 'disk', detail: `${free} bytes are free on the disk; ${this.#floorBytes} are kept in reserve` }
  }
}

function newBytes(call: Call): Bytes {
  if (call.kind !== 'submit' && call.kind !== 'submitWhole') return 0
  return call.jobs.reduce((sum, { request }) => sum + payloadBytes(request), 0)
}

/** Also when the clock went back. */
function isPast(at: MonotonicMillis, span: Millis, now: MonotonicMillis): boolean {
  return now - at >= span || now < at
}
