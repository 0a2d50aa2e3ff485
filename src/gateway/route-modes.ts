/**
 * Which spill routes queue at the moment, since when and why. What changes a route's mode is in `core/routing/route-mode.ts`; here stand the
 * clock, the look into the queue, and what people are told. A route that is not in the map serves at once, and costs nothing.
 */
import type { RouteConfig } from '../config/config.ts'
import { afterFreeSlot, afterLook, afterSpill, DIRECT, type RouteMode, type SpillCause } from '../core/routing/route-mode.ts'
import { spanText } from '../telemetry/event-text.ts'
import type { EpochMillis, Millis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { QueueName } from '../ports/job-store.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { ModeSwitches } from './mode-switches.ts'

/** While a route queues. */
export interface Queueing {
  readonly cause: SpillCause
  /** Of the request with which it began. */
  readonly reason: string
  readonly since: EpochMillis
}

/** What becomes of a request now that could be served at once or wait. */
export interface Serves {
  readonly mode: 'direct' | 'queue' | 'refuse'
  readonly trigger: 'config' | 'operator' | SpillCause
  readonly reason?: string
  readonly since?: EpochMillis
}

export interface RouteModeParts {
  readonly telemetry: Telemetry
  readonly clock: Clock
  /** Do more jobs wait in the queue than its servers take at once? */
  readonly hasBacklog: (queue: QueueName) => Promise<boolean>
}

interface Entry {
  readonly route: RouteConfig
  state: RouteMode
  queueing: Queueing | undefined
}

/** How often queues are looked into while a route queues. */
const LOOK_MS: Millis = 250

export class RouteModes {
  readonly #parts: RouteModeParts
  /** Routes under pressure, and those that queue. */
  readonly #entries = new Map<string, Entry>()
  #timer: Timer | undefined
  #closed = false

  constructor(parts: RouteModeParts) {
    this.#parts = parts
  }

  /** Undefined: its requests are served at once. */
  of(route: string): Queueing | undefined {
    return this.#entries.size === 0 ? undefined : this.#entries.get(route)?.queueing
  }

  /** A request had to be stored. */
  spilled(route: RouteConfig, cause: SpillCause, reason: string): void {
    const known = this.#entries.get(route.name)
    const entry = { route, state: known?.state ?? DIRECT, queueing: known?.queueing }
    this.#entries.set(route.name, entry)
    entry.state = afterSpill(entry.state, this.#parts.clock.monotonic(), cause, route.spill)
    if (entry.queueing !== undefined || entry.state.mode === 'direct') return
    entry.queueing = { cause, reason, since: this.#parts.clock.now() }
    this.#tell(route, 'queue', reason)
    this.#lookLater()
  }

  /** A request found a free slot at once. */
  foundSlot(route: RouteConfig): void {
    if (this.#entries.size === 0) return
    const entry = this.#entries.get(route.name)
    if (entry === undefined) return
    entry.state = afterFreeSlot(entry.state)
    if (entry.state.mode === 'direct') this.#entries.delete(route.name)
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #lookLater(): void {
    if (this.#timer !== undefined || this.#closed) return
    this.#timer = this.#parts.clock.after(LOOK_MS, () => void this.#look())
  }

  async #look(): Promise<void> {
    const queueing = [...this.#entries.values()].filter((entry) => entry.queueing !== undefined)
    const queues = [...new Set(queueing.map(({ route }) => route.queue as QueueName))]
    // A store that cannot say leaves everything as it is.
    const looks = await Promise.all(queues.map((queue) => this.#parts.hasBacklog(queue).catch(() => true)))
    this.#timer = undefined
    for (const entry of queueing) this.#looked(entry, looks[queues.indexOf(entry.route.queue as QueueName)] as boolean)
    if ([...this.#entries.values()].some((entry) => entry.queueing !== undefined)) this.#lookLater()
  }

  #looked(seen: Entry, backlog: boolean): void {
    const { route } = seen
    const entry = this.#entries.get(route.name)
    if (entry?.queueing === undefined) return
    entry.state = afterLook(entry.state, this.#parts.clock.monotonic(), backlog, route.spill)
    if (entry.state.mode === 'queue') return
    this.#entries.delete(route.name)
    this.#tell(route, 'direct', `for ${spanText(route.spill.leaveMs)} nothing had to be stored, and its queue is worked off`)
  }

  #tell(route: RouteConfig, to: 'direct' | 'queue', reason: string): void {
    const { telemetry } = this.#parts
    telemetry.metrics.counter('spillway_route_flips_total', METRICS.spillway_route_flips_total.help, { route: route.name, mode: to }).inc()
    telemetry.event({ type: 'mode-flipped', route: route.name, to, reason })
  }
}

/** An operator's switch counts more than what the route does by itself. */
export function servesNow(route: RouteConfig, switches: ModeSwitches, modes: RouteModes): Serves {
  const switched = switches.of(route.name)
  if (switched !== undefined) return { ...switched, trigger: 'operator', reason: 'an operator switched it' }
  const queueing = modes.of(route.name)
  if (queueing === undefined) return { mode: route.mode === 'queue' ? 'queue' : 'direct', trigger: 'config' }
  const { cause, reason, since } = queueing
  return { mode: 'queue', trigger: cause, reason, since }
}
