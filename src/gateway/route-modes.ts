/**
 * Which spill routes queue at the moment, since when and why. What changes a route's mode is in `core/routing/route-mode.ts`; here stand the
 * clock, the one request that still waits, and what people are told. A route that is not in the map serves at once, and costs nothing.
 */
import type { RouteConfig } from '../config/config.ts'
import { afterFreeSlot, afterLook, afterSpill, DIRECT, type RouteMode, type SpillCause } from '../core/routing/route-mode.ts'
import { spanText } from '../telemetry/event-text.ts'
import type { EpochMillis, Millis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
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
  /** Of some route something is otherwise now. */
  readonly changed?: () => void
  readonly telemetry: Telemetry
  readonly clock: Clock
  /** As it is configured now. */
  readonly route: (name: string) => RouteConfig | undefined
  /** Is any server of this pool up? */
  readonly hasServer: (pool: string) => boolean
}

interface Entry {
  state: RouteMode
  queueing: Queueing | undefined
  /** One request waits although the route queues. */
  probing: boolean
}

/** How often it is looked whether a route still queues. */
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

  /**
   * Of a route that queues: may a request that found no slot wait for one, as if it did not? One may, so that it shows when waiting helps again.
   * True: whoever asked says when its wait is over.
   */
  mayWait(route: string): boolean {
    const entry = this.#entries.get(route)
    if (entry === undefined || entry.probing) return entry === undefined
    entry.probing = true
    return true
  }

  waitIsOver(route: string): void {
    const entry = this.#entries.get(route)
    if (entry !== undefined) entry.probing = false
  }

  /** A request had to be stored: no server was up, or it had waited in vain. */
  spilled(route: RouteConfig, cause: SpillCause, reason: string): void {
    const entry: Entry = this.#entries.get(route.name) ?? { state: DIRECT, queueing: undefined, probing: false }
    this.#entries.set(route.name, entry)
    entry.state = afterSpill(entry.state, this.#parts.clock.monotonic(), cause, route.spill)
    if (entry.queueing !== undefined || entry.state.mode === 'direct') return
    entry.queueing = { cause, reason, since: this.#parts.clock.now() }
    this.#tell(route.name, 'queue', reason)
    this.#lookLater()
  }

  /** A request found a slot, at once or while it waited. */
  served(route: RouteConfig): void {
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
    this.#timer = this.#parts.clock.after(LOOK_MS, () => this.#look())
  }

  #look(): void {
    this.#timer = undefined
    for (const [name, entry] of this.#entries) if (entry.queueing !== undefined) this.#lookAt(name, entry)
    if ([...this.#entries.values()].some((entry) => entry.queueing !== undefined)) this.#lookLater()
  }

  #lookAt(name: string, entry: Entry): void {
    const route = this.#parts.route(name)
    if (route?.mode !== 'spill') return this.#goesDirect(name, 'it is configured otherwise')
    const now = this.#parts.clock.monotonic()
    // Without a server the next one would be stored, too, whether or not one comes.
    const pools = route.split?.shares.map(({ pool }) => pool) ?? [route.pool ?? '']
    const state = pools.some((pool) => this.#parts.hasServer(pool)) ? entry.state : afterSpill(entry.state, now, 'no_server', route.spill)
    entry.state = afterLook(state, now, route.spill)
    if (entry.state.mode === 'direct') this.#goesDirect(name, `for ${spanText(route.spill.leaveMs)} requests have not waited in vain`)
  }

  #goesDirect(name: string, reason: string): void {
    this.#entries.delete(name)
    this.#tell(name, 'direct', reason)
  }

  #tell(route: string, to: 'direct' | 'queue', reason: string): void {
    const { telemetry } = this.#parts
    telemetry.metrics.counter('spillway_route_flips_total', METRICS.spillway_route_flips_total.help, { route, mode: to }).inc()
    telemetry.event({ type: 'mode-flipped', route, to, reason })
    this.#parts.changed?.()
  }
}

/** An operator's switch counts more than what the route does by itself. */
export function servesNow(route: RouteConfig, switches: ModeSwitches, modes: RouteModes): Serves {
  const switched = switches.of(route.name)
  // A reload may have taken from it where it could queue; the switch is kept for when it has that again.
  if (switched !== undefined && (switched.mode === 'refuse' || route.queue !== undefined))
    return { ...switched, trigger: 'operator', reason: 'an operator switched it' }
  const queueing = route.mode === 'spill' ? modes.of(route.name) : undefined
  if (queueing === undefined) return { mode: route.mode === 'queue' ? 'queue' : 'direct', trigger: 'config' }
  const { cause, reason, since } = queueing
  return { mode: 'queue', trigger: cause, reason, since }
}
