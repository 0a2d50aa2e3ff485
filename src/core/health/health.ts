/**
 * Whether a server may be given work: a pure state machine over probe results and what live requests met.
 * A refused connection is proof and counts at once; a broken one is only a reason to look; anything else needs `fall` in a row.
 */
import type { Millis } from '../../lib/units.ts'
import type { ServerReports } from '../server-reports/read-reports.ts'

export type ServerState = 'unknown' | 'up' | 'down'

export interface Health {
  readonly state: ServerState
  /** Probe results in a row that speak against the state. */
  readonly against: number
}

export interface HealthRules {
  readonly fall: number
  readonly rise: number
}

export type ProbeResult =
  | ({ readonly kind: 'passed' } & Said)
  | ({ readonly kind: 'failed'; readonly refused: boolean; readonly reason: string } & Said)
  /** The gateway lacked what it takes to ask: this says nothing about the server. */
  | { readonly kind: 'unasked'; readonly errno: string }

/** What the server said of itself with that. Absent: nothing. */
interface Said {
  readonly reports?: ServerReports
}

export const UNKNOWN: Health = { state: 'unknown', against: 0 }

/**
 * Errors of a connect that tell of a shortage on this side: it meets all servers alike, and passes. Not EPERM and EACCES: these are rules
 * of this machine about one address, and as long as they stand, that server is of no more use to us than one that is down.
 */
const OWN_SHORTAGES: ReadonlyMap<string, string> = new Map([
  ['EMFILE', 'this process has as many files open as it may; raise its limit (ulimit -n)'],
  ['ENFILE', 'this machine has as many files open as it may'],
  ['ENOBUFS', 'this machine has no memory left for sockets'],
  ['ENOMEM', 'this machine has no memory left for sockets'],
  ['EADDRNOTAVAIL', 'this machine has no local address or port left to connect from'],
])

/** What this side is short of, for people; undefined: the error says something about the server. */
export function ownShortage(errno: string | undefined): string | undefined {
  return errno === undefined ? undefined : OWN_SHORTAGES.get(errno)
}

/** The first result decides at once: there is no history to outweigh it. */
export function afterProbe(health: Health, result: ProbeResult, rules: HealthRules): Health {
  if (result.kind === 'unasked') return health
  if (health.state === 'unknown') return { state: result.kind === 'passed' ? 'up' : 'down', against: 0 }
  if (result.kind === 'passed') {
    if (health.state === 'up') return health.against === 0 ? health : { state: 'up', against: 0 }
    const against = health.against + 1
    return against >= rules.rise ? { state: 'up', against: 0 } : { state: 'down', against }
  }
  if (health.state === 'down') return { state: 'down', against: 0 }
  const against = health.against + 1
  return result.refused || against >= rules.fall ? { state: 'down', against: 0 } : { state: 'up', against }
}

/** A live request could not connect. */
export function afterConnectFailure(health: Health): Health {
  return health.state === 'down' ? health : { state: 'down', against: 0 }
}

export interface ProbePace {
  readonly intervalMs: Millis
  /** While the state is in doubt, or is down; absent: a quarter of it. */
  readonly fastIntervalMs?: Millis
  /** So much earlier or later, at most; absent: a twentieth. */
  readonly jitter?: number
}

/**
 * Until the next probe. Steady servers are looked at every interval; one that is down or in doubt more often, so that a change is seen early.
 * `unit` in [0,1) spreads the probes of many gateways.
 */
export function nextProbeMs(health: Health, { intervalMs, fastIntervalMs, jitter = 0.05 }: ProbePace, unit: number): Millis {
  const steady = health.state === 'up' && health.against === 0
  const base = steady ? intervalMs : (fastIntervalMs ?? Math.max(Math.min(intervalMs, 100), intervalMs / 4))
  return base * (1 - jitter + 2 * jitter * unit)
}
