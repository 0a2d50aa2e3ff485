/** A pool and its servers as documents: the state of each, why it is so, and since when. Read when asked for. */
import type { Balance } from '../config/config.ts'
import type { HealthConfig } from '../config/config-health.ts'
import { sourceText } from '../config/source-text.ts'
import type { ServerChange } from '../core/members/changes.ts'
import type { Registration } from '../core/members/registrations.ts'
import { hash32 } from '../lib/hash.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'
import type { Clock } from '../ports/clock.ts'

export type Changes = ReadonlyMap<string, ServerChange>
type Document = Readonly<Record<string, unknown>>

export function poolSummary(pool: Pool): Document {
  const { name, config, servers, leaving, waiting } = pool
  return {
    name,
    balance: balanceText(config.balance),
    servers: servers.length,
    up: servers.filter(({ state }) => state === 'up').length,
    draining: servers.filter(({ state }) => state === 'draining').length,
    leaving: leaving.length,
    inFlight: [...servers, ...leaving].reduce((sum, { inFlight }) => sum + inFlight, 0),
    waiting,
  }
}

export function poolView(around: Around): Document {
  const { pool, changes } = around
  const { config } = pool
  return {
    ...poolSummary(pool),
    maxInFlight: config.maxInFlight,
    maxTunnels: config.maxTunnels,
    maxWaiting: config.maxWaiting,
    servers: [...pool.servers, ...pool.leaving].map((server) => serverView(server, around)),
    takenOut: [...changes].flatMap(([name, { removed, since }]) => (removed === true ? [{ name, since: iso(since) }] : [])),
  }
}

export interface Around {
  readonly pool: Pool
  readonly changes: Changes
  readonly clock: Clock
  readonly registered: ReadonlyMap<string, Registration>
}

export function serverView(server: Server, { pool, changes, clock, registered }: Around): Document {
  const now = clock.monotonic()
  const at = (moment: MonotonicMillis): string => iso(clock.now() + moment - now)
  const { name, config, source, state, inFlight, jobs, tunnels, slots, latency } = server
  const change = changeOf(server, changes)
  const since = server.stateSince
  return {
    name,
    ...(config.hostName !== undefined && { hostName: config.hostName }),
    source,
    ...(change !== undefined && { changed: { ...change, since: iso(change.since) } }),
    state: server.leaving ? 'leaving' : server.duty === 'maint' ? 'maint' : state,
    because: server.because,
    ...(since > 0 && { since: iso(since) }),
    ...(server.backup && { backup: true }),
    weight: { configured: server.configuredWeight, effective: round(server.weight) },
    inFlight,
    jobs,
    slots,
    tunnels,
    ...loadView(server),
    ...(latency.known && { latencyMs: round(latency.ms(now)) }),
    health: healthView(server, pool.config.health),
    ...conductView(server, at),
    ...wishView(server, at),
    ...(server.pausedUntil > now && { pausedUntil: at(server.pausedUntil) }),
    ...slowStartView(server, pool.config.slowStartMs, { now, at }),
    ...leavingView(server, pool, at),
    ...(source === 'registered' && registrationView(registered.get(name), at)),
  }
}

function registrationView(registration: Registration | undefined, at: At): Document {
  return registration === undefined ? {} : { registration: { ttlMs: registration.ttlMs, endsAt: at(registration.until) } }
}

type At = (moment: MonotonicMillis) => string

function healthView({ health, lastCheck }: Server, config: HealthConfig): Document {
  const { path, method = 'GET', port } = config
  const check = `${path === undefined ? 'tcp' : `${method} ${path}`}${port === undefined ? '' : ` at port ${port}`}`
  if (lastCheck === undefined) return { state: health.state, check }
  const { result, tookMs } = lastCheck
  const reason = result.kind === 'failed' ? { reason: result.reason } : result.kind === 'unasked' ? { reason: result.errno } : {}
  const last = { at: iso(lastCheck.at), tookMs: round(tookMs), result: result.kind, ...reason }
  return { state: health.state, check, last, ...(health.against > 0 && { against: health.against }) }
}

/** As it says itself, and what that makes of its share. */
function loadView({ load, loadFactor }: Server): Document {
  return load === undefined ? {} : { load: { reported: round(load.value), factor: round(loadFactor) } }
}

/** By its own wish; that of an operator is its state. */
function wishView({ wish }: Server, at: At): Document {
  return wish === undefined
    ? {}
    : { drainWish: { until: wish.isOfChecks ? 'a check does not repeat it' : 'its time is over', atMost: at(wish.until) } }
}

function conductView({ conduct }: Server, at: At): Document {
  const { standing, reason, ejectedUntil, ejections } = conduct
  if (standing === 'good') return ejections === 0 ? {} : { ejection: { standing, times: ejections } }
  return { ejection: { standing, reason, times: ejections, ...(standing === 'ejected' && { until: at(ejectedUntil) }) } }
}

function slowStartView(server: Server, slowStartMs: Millis, { now, at }: { readonly now: MonotonicMillis; readonly at: At }): Document {
  const isStarting = server.state === 'up' && server.returned && now - server.upSince < slowStartMs
  if (!isStarting) return {}
  return {
    slowStart: { share: round(server.weight / (server.configuredWeight * server.loadFactor)), until: at(server.upSince + slowStartMs) },
  }
}

function leavingView(server: Server, pool: Pool, at: At): Document {
  const until = pool.leavesUntil(server)
  if (until === undefined) return {}
  return until === Number.POSITIVE_INFINITY ? { leaves: 'when it has ended' } : { leavesBy: at(until) }
}

/** That of the server itself, or of the name of which it is an address. */
export function changeOf({ name, config }: Server, changes: Changes): ServerChange | undefined {
  const ofName = config.hostName === undefined ? undefined : changes.get(`${config.hostName}:${config.port}`)
  return changes.get(name) ?? ofName
}

/** Of what can be changed about it: the same as long as nobody has changed anything, over restarts. */
export function serverTag({ name, configuredWeight, duty, source }: Server): string {
  const settings = JSON.stringify([name, configuredWeight, duty, source])
  return `"${hash32(settings).toString(16).padStart(8, '0')}${hash32(settings, 1).toString(16).padStart(8, '0')}"`
}

export function balanceText(balance: Balance): string {
  if (typeof balance === 'string') return balance
  return `hash ${sourceText(balance.by)}`
}

function iso(at: number): string {
  return new Date(Math.round(at)).toISOString()
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000
}
