/**
 * Host names of servers, and the addresses that they stand for, looked up again and again. A look-up that fails, or finds nobody, changes nothing:
 * what was known last goes on. Two are under way at most, since a resolver that hangs blocks threads that others need.
 */
import { isIP } from 'node:net'
import type { EpochMillis, Millis } from '../lib/units.ts'
import type { Clock, Random, Timer } from '../ports/clock.ts'
import type { ResolvedAddress, Resolver } from '../ports/network.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'

/** Sooner, where the answer says that it is good for less. */
const EVERY_MS: Millis = 5_000
const SOONEST_MS: Millis = 500
const AFTER_FAILURE_MS: Millis = 1_000
const AT_ONCE = 2

export interface NamesParts {
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
  readonly resolver: Resolver
  /** It stands for others now, or its first look-up has ended. */
  readonly changed: (host: string) => void
}

export interface LookedUp {
  readonly addresses: readonly ResolvedAddress[]
  /** Nobody has answered yet, well or not. */
  readonly isPending: boolean
  readonly at?: EpochMillis
  /** Of the last look-up, where it failed. */
  readonly error?: string
}

interface Entry {
  looked: LookedUp
  timer: Timer | undefined
}

const UNKNOWN: LookedUp = { addresses: [], isPending: true }

export class Names {
  readonly #parts: NamesParts
  readonly #entries = new Map<string, Entry>()
  readonly #due: string[] = []
  #underWay = 0
  #closed = false

  constructor(parts: NamesParts) {
    this.#parts = parts
  }

  /** These are looked up from now on, and no others. */
  track(hosts: ReadonlySet<string>): void {
    for (const [host, { timer }] of this.#entries) {
      if (hosts.has(host)) continue
      timer?.cancel()
      this.#entries.delete(host)
    }
    for (const host of hosts) {
      if (this.#entries.has(host)) continue
      this.#entries.set(host, { looked: UNKNOWN, timer: undefined })
      this.#enqueue(host)
    }
  }

  of(host: string): LookedUp | undefined {
    return this.#entries.get(host)?.looked
  }

  close(): void {
    this.#closed = true
    for (const { timer } of this.#entries.values()) timer?.cancel()
    this.#entries.clear()
  }

  #enqueue(host: string): void {
    this.#due.push(host)
    this.#next()
  }

  #next(): void {
    while (this.#underWay < AT_ONCE) {
      const host = this.#due.shift()
      if (host === undefined || this.#closed) return
      const entry = this.#entries.get(host)
      if (entry !== undefined) this.#lookUp(host, entry)
    }
  }

  #lookUp(host: string, entry: Entry): void {
    this.#underWay++
    const ended = (found: readonly ResolvedAddress[], error: string | undefined): void => {
      this.#underWay--
      if (this.#entries.get(host) === entry && !this.#closed) this.#answered(host, entry, found, error)
      this.#next()
    }
    this.#parts.resolver.resolve(host).then(
      (found) => ended(found, found.length === 0 ? 'it has no address' : undefined),
      (error: unknown) => ended([], reasonOf(error)),
    )
  }

  #answered(host: string, entry: Entry, found: readonly ResolvedAddress[], error: string | undefined): void {
    const { clock, random, telemetry, changed } = this.#parts
    const before = entry.looked
    const addresses = error === undefined ? sorted(found) : before.addresses
    entry.looked = { addresses, isPending: false, at: clock.now(), ...(error !== undefined && { error }) }
    const goodMs = Math.min(EVERY_MS, ...found.map(({ ttlMs }) => ttlMs ?? EVERY_MS))
    const nextMs = error === undefined ? Math.max(SOONEST_MS, goodMs) : AFTER_FAILURE_MS
    entry.timer = clock.after(nextMs * (0.95 + 0.1 * random.unit()), () => this.#enqueue(host))
    if (error !== undefined && before.error === undefined)
      telemetry.event({ type: 'name-unresolved', name: host, reason: error, kept: addresses.length })
    else if (error === undefined && before.error !== undefined)
      telemetry.event({ type: 'name-resolved', name: host, addresses: addresses.length })
    if (before.isPending || keyOf(before.addresses) !== keyOf(addresses)) changed(host)
  }
}

/** An address is none, and `localhost` is this machine, whichever of its addresses a server listens at. */
export function isLookedUp(host: string): boolean {
  return isIP(host) === 0 && host !== 'localhost' && !host.endsWith('.localhost')
}

/** Resolvers give them in another order each time. */
function sorted(found: readonly ResolvedAddress[]): readonly ResolvedAddress[] {
  const byAddress = new Map(found.map((each) => [each.address, each]))
  return [...byAddress.values()].sort((a, b) => (a.address < b.address ? -1 : 1))
}

function keyOf(addresses: readonly ResolvedAddress[]): string {
  return addresses.map(({ address }) => address).join()
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code } = error as NodeJS.ErrnoException
  return code ?? error.message
}
