/**
 * Servers that pass their checks and fail their requests: each is judged by what its requests met, and taken out for a while (ejected). After
 * that it is on probation: one request at a time, until some in a row went well; one that fails takes it out again, for longer. Never more
 * than a share of the pool, unless another one does well: when all fail, it is not the servers that differ. (The rules are Envoy's outlier
 * detection, and a circuit breaker's half-open state; that others are looked at is ours.)
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'
import type { ErrorCode } from '../errors.ts'

export interface OutlierRules {
  /** Failures in a row that are enough. 0: they are not counted. */
  readonly consecutive: number
  /** Share of a window's requests that is too much. More than 1: it is not judged. */
  readonly failureRate: number
  /** Fewer requests in a window say nothing about a rate. */
  readonly volumeMin: number
  /** So many times slower than the middle one of the others is too slow. Infinity: it is not judged. */
  readonly slowerThan: number
  readonly windowMs: Millis
  /** The first time; each further time as much longer, up to `ejectMaxMs`. */
  readonly ejectMs: Millis
  readonly ejectMaxMs: Millis
  /** Share of the pool that may be out at once; one server may in any case, where there is another one, and more while another one does well. */
  readonly ejectedMax: number
}

/** Its own doing, and not the client's, nor that of what it was asked for: 501 and 505 are the same on every server. */
export function isServerFault(status: number): boolean {
  return status >= 500 && status !== 501 && status !== 505
}

/** An exchange that broke off or took too long on the server's side. Connections that it refuses are a matter of its health. */
const SERVER_FAULTS: ReadonlySet<ErrorCode> = new Set(['connection_reset', 'first_byte_timeout', 'attempt_timeout', 'bad_response'])

export function isServerFailure(code: ErrorCode): boolean {
  return SERVER_FAULTS.has(code)
}

/** On probation: so many good answers in a row, and it is one of them again. */
export const PROBATION_ANSWERS = 3

export type Standing = 'good' | 'ejected' | 'probation'

/** Of one server. */
export class Conduct {
  standing: Standing = 'good'
  /** Why it was taken out, the last time. */
  reason = ''
  ejectedUntil: MonotonicMillis = 0
  /** Times that it was taken out, less those that good windows have made up for. */
  ejections = 0
  failuresInRow = 0
  goodInRow = 0
  /** In this window, and in the one before. */
  answered = 0
  failed = 0
  answeredBefore = 0
  failedBefore = 0
}

/** A request has ended well, or not. Given back: why it should be taken out. */
export function observe(conduct: Conduct, ok: boolean, rules: OutlierRules): string | undefined {
  conduct.answered += 1
  conduct.failuresInRow = ok ? 0 : conduct.failuresInRow + 1
  conduct.goodInRow = ok ? conduct.goodInRow + 1 : 0
  if (!ok) conduct.failed += 1
  if (conduct.standing === 'probation') {
    if (!ok) return 'a request failed on probation'
    if (conduct.goodInRow >= PROBATION_ANSWERS) conduct.standing = 'good'
    return undefined
  }
  if (conduct.standing === 'ejected' || rules.consecutive === 0 || conduct.failuresInRow < rules.consecutive) return undefined
  return `${conduct.failuresInRow} requests in a row failed`
}

/** Of its requests in this window and the one before: who fails no more of them does well. */
const WELL_FAILED_MAX = 0.05

/**
 * `conducts`: of all servers of the pool that could be used. One more, if this is true. Never the last one; beyond the share only while another one
 * does well: then the servers differ. When all fail, it is something that they share.
 */
export function mayEject(conducts: readonly Conduct[], rules: OutlierRules): boolean {
  const out = conducts.filter(({ standing }) => standing !== 'good').length
  if (conducts.length - out <= 1) return false
  return out < Math.max(1, Math.floor(conducts.length * rules.ejectedMax)) || conducts.some((conduct) => doesWell(conduct, rules))
}

function doesWell(conduct: Conduct, { consecutive, volumeMin }: OutlierRules): boolean {
  if (conduct.standing !== 'good' || (consecutive > 0 && conduct.failuresInRow >= consecutive)) return false
  const answered = conduct.answered + conduct.answeredBefore
  return answered >= volumeMin && conduct.failed + conduct.failedBefore <= answered * WELL_FAILED_MAX
}

/** Gives back for how long. */
export function eject(conduct: Conduct, reason: string, now: MonotonicMillis, rules: OutlierRules): Millis {
  conduct.ejections += 1
  const forMs = Math.min(rules.ejectMs * conduct.ejections, rules.ejectMaxMs)
  conduct.standing = 'ejected'
  conduct.reason = reason
  conduct.ejectedUntil = now + forMs
  conduct.failuresInRow = 0
  conduct.goodInRow = 0
  return forMs
}

/** The time is over. */
export function beginProbation(conduct: Conduct): void {
  conduct.standing = 'probation'
  conduct.failuresInRow = 0
  conduct.goodInRow = 0
}

export interface Judged {
  readonly conduct: Conduct
  /** How long it takes now; undefined: nobody knows. */
  readonly latencyMs: Millis | undefined
}

/**
 * A window is over: why each of them should be taken out, in the same order, and the counts begin anew. A window without a failure makes up
 * for one time that a server was taken out.
 */
export function judgeWindow(servers: readonly Judged[], rules: OutlierRules): (string | undefined)[] {
  const reasons = servers.map((server) => (server.conduct.standing === 'good' ? reasonOf(server, servers, rules) : undefined))
  for (const { conduct } of servers) {
    if (conduct.standing === 'good' && conduct.answered > 0 && conduct.failed === 0) conduct.ejections = Math.max(0, conduct.ejections - 1)
    conduct.answeredBefore = conduct.answered
    conduct.failedBefore = conduct.failed
    conduct.answered = 0
    conduct.failed = 0
  }
  return reasons
}

function reasonOf({ conduct, latencyMs }: Judged, servers: readonly Judged[], rules: OutlierRules): string | undefined {
  const { answered, failed } = conduct
  if (answered < rules.volumeMin) return undefined
  const rate = failed / answered
  if (rate >= rules.failureRate) return `${Math.round(rate * 100)} % of ${answered} requests failed`
  const others = servers
    .filter((server) => server.conduct !== conduct && server.conduct.standing === 'good' && server.latencyMs !== undefined)
    .map((server) => server.latencyMs as Millis)
  const middle = medianOf(others)
  if (latencyMs === undefined || middle === undefined || latencyMs <= middle * rules.slowerThan) return undefined
  return `it takes ${Math.round(latencyMs)} ms where others take ${Math.round(middle)} ms`
}

function medianOf(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
}
