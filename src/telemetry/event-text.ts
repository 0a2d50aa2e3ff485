/**
 * Events as people read them: one short line each, in lower case, concrete. What happens to a server and where its buckets went
 * belongs together, so these events are joined to one line.
 */
import type { Millis } from '../lib/units.ts'
import type { GatewayEvent } from './telemetry.ts'

export type EventLevel = 'info' | 'warn' | 'error'

export interface EventTextOptions {
  readonly write: (line: string) => void
  /** How a server is called on the screen; as configured when absent. */
  readonly serverName?: (server: string) => string
  /** How long a line about a server waits for the buckets that moved with it. */
  readonly joinMs?: Millis
}

export interface EventText {
  print(event: GatewayEvent): void
  /** Prints what still waits to be joined. */
  flush(): void
}

type ServerChange = Extract<GatewayEvent, { type: 'server-up' | 'server-down' }>
type BucketsMoved = Extract<GatewayEvent, { type: 'buckets-moved' }>

const LEVELS: Readonly<Record<GatewayEvent['type'], EventLevel>> = {
  started: 'info',
  stopping: 'info',
  stopped: 'info',
  'server-up': 'info',
  'server-down': 'warn',
  'server-ejected': 'warn',
  'server-on-probation': 'info',
  'server-added': 'info',
  'server-removed': 'info',
  'server-left': 'info',
  'worker-died': 'error',
  'server-changed': 'warn',
  'registration-ended': 'info',
  'name-unresolved': 'warn',
  'name-resolved': 'info',
  'pool-removed': 'info',
  'pool-left': 'info',
  'drain-asked': 'info',
  'drain-over': 'info',
  'report-garbled': 'warn',
  'pool-panics': 'error',
  'pool-calm': 'info',
  'failover-began': 'warn',
  'failover-ended': 'info',
  'buckets-moved': 'info',
  'mode-flipped': 'info',
  'mode-switched': 'warn',
  'job-dead': 'warn',
  'batch-ended': 'info',
  'chain-stopped': 'warn',
  'attempt-failed': 'warn',
  'job-deferred': 'info',
  'webhook-disabled': 'error',
  'webhook-enabled': 'info',
  guard: 'warn',
  'limit-reached': 'warn',
  'connections-refused': 'warn',
  'certificates-read': 'info',
  'certificate-refused': 'error',
  'certificate-expires': 'warn',
  'sync-slow': 'warn',
  'store-corrupt': 'error',
  'config-reloaded': 'info',
  'config-refused': 'error',
  'upgrade-began': 'info',
  upgraded: 'info',
  'upgrade-failed': 'error',
  warning: 'warn',
  fatal: 'error',
}

export function eventLevel(event: GatewayEvent): EventLevel {
  return LEVELS[event.type]
}

/** `820 ms`, `8.1 s`, `12 min`, `3.5 h`. */
export function spanText(ms: Millis): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${Math.round(ms / 100) / 10} s`
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`
  return `${Math.round(ms / 360_000) / 10} h`
}

function guardText({ level, before, signal = '', value = 0 }: Extract<GatewayEvent, { type: 'guard' }>): string {
  if (level === 'calm') return 'the gateway has no more to do than it can: connections are let in as they come'
  if (before === 'shed') return 'the gateway has less to do: no request is refused any more, new connections are let in slowly'
  const why = `${signal} ${signal === 'loopDelay' ? spanText(value) : `${Math.round(value * 100)} %`}`
  const what = level === 'slow' ? 'new connections are let in slowly' : 'requests are refused, the least urgent first'
  return `the gateway has too much to do (${why}): ${what}`
}

function bucketsText(moved: BucketsMoved, name: (server: string) => string): string {
  const to = moved.to.map(name).join(', ')
  const back = moved.takenBack === 0 ? '' : `; ${moved.takenBack} ${moved.takenBack === 1 ? 'job' : 'jobs'} taken back, keys stay in order`
  return `${moved.moved} of ${moved.buckets} buckets → ${to === '' ? 'nobody, they wait' : to}${back}`
}

/** Queues of one pool share their buckets out alike: what happened to all of them is said once. */
function joinAlike(moves: readonly BucketsMoved[]): readonly BucketsMoved[] {
  const [first] = moves
  if (first === undefined || moves.some((move) => move.moved !== first.moved || move.to.join() !== first.to.join())) return moves
  return [{ ...first, takenBack: moves.reduce((sum, move) => sum + move.takenBack, 0) }]
}

function serverText(change: ServerChange, moves: readonly BucketsMoved[], name: (server: string) => string): string {
  const state = change.type === 'server-down' ? 'down' : 'up'
  const after = change.type === 'server-up' && change.downForMs !== undefined ? `, was down for ${spanText(change.downForMs)}` : ''
  const told = joinAlike(moves)
  const buckets = told.map((move) => `; ${told.length > 1 ? `${move.queue}: ` : ''}${bucketsText(move, name)}`)
  return `${name(change.server)} ${state}: ${change.reason}${after}${buckets.join('')}`
}

/** One event on its own. */
export function eventText(event: GatewayEvent, name: (server: string) => string = (server) => server): string {
  return oneLine(describe(event, name))
}

/** Whatever the fields hold: what servers and clients said may neither break the line nor steer the terminal. */
function oneLine(text: string): string {
  return text.replaceAll(/[\p{C}\u2028\u2029]+/gu, ' ')
}

/** `expires in 3 days`. */
export function expiryText(leftMs: Millis): string {
  if (leftMs <= 0) return `has expired ${daysText(-leftMs)} ago`
  return `expires in ${daysText(leftMs)}`
}

function daysText(ms: Millis): string {
  const days = Math.floor(ms / 86_400_000)
  return days < 2 ? spanText(ms) : `${days} days`
}

type Texts = {
  readonly [T in GatewayEvent['type']]: (event: Extract<GatewayEvent, { readonly type: T }>, name: (server: string) => string) => string
}

/** One line each; the order is that of `GatewayEvent`. */
const REPORT_FORMS: Readonly<Record<string, string>> = {
  'Spillway-Load': 'no load from 0 to 10, where 1 is all that it can do',
  'Spillway-Drain': 'none of now, off and a duration such as 60s',
}

const TEXTS: Texts = {
  started: (event) => `listening on ${event.listeners.join(', ')}; admin ${event.admin}; pid ${event.pid}`,
  stopping: (event) => `stopping: ${event.reason}; ${event.inFlight} in flight`,
  stopped: () => 'stopped',
  'server-up': (event, name) => serverText(event, [], name),
  'server-down': (event, name) => serverText(event, [], name),
  'server-ejected': (event, name) => `${name(event.server)} is taken out for ${spanText(event.forMs)}: ${event.reason}`,
  'server-on-probation': (event, name) => `${name(event.server)} is tried again, one request at a time`,
  'server-added': (event, name) => `${name(event.server)} is in pool ${event.pool} now (${event.source})`,
  'server-removed': (event, name) =>
    `${name(event.server)} is not in pool ${event.pool} any more${event.inFlight === 0 ? '' : `; ${event.inFlight} in flight may end`}`,
  'server-left': (event, name) =>
    `${name(event.server)} has left pool ${event.pool} after ${spanText(event.afterMs)}${event.cut === 0 ? '' : `; ${event.cut} in flight broken off`}`,
  'worker-died': ({ worker, reason, againMs }) =>
    `worker ${worker} has died, and the calls that it served with it; another one begins in ${spanText(againMs)}: ${reason}`,
  'name-unresolved': (event) =>
    `${event.name} cannot be looked up (${event.reason}); ${event.kept === 0 ? 'no address of it is known' : `its last ${event.kept} addresses go on`}`,
  'name-resolved': (event) => `${event.name} can be looked up again; addresses: ${event.addresses}`,
  'server-changed': (event, name) => `${name(event.server)} of pool ${event.pool}: an operator has changed it: ${event.change}`,
  'registration-ended': (event, name) => `${name(event.server)} is not registered in pool ${event.pool} any more: ${event.reason}`,
  'pool-removed': (event) => `pool ${event.pool} is not configured any more; what is in it may end`,
  'pool-left': (event) => `pool ${event.pool} is gone, after ${spanText(event.afterMs)}`,
  'drain-asked': (event, name) =>
    `${name(event.server)} of pool ${event.pool} asks to be drained${event.forMs === undefined ? '' : ` for ${spanText(event.forMs)}`}; nothing new goes there`,
  'drain-over': (event, name) => `${name(event.server)} of pool ${event.pool} is not drained by its own wish any more: ${event.reason}`,
  'report-garbled': (event, name) =>
    `${name(event.server)} of pool ${event.pool} says ${event.field}: ${JSON.stringify(event.value)}, which is ${REPORT_FORMS[event.field] ?? 'not understood'}; it is ignored`,
  'pool-panics': (event) =>
    event.hope === 'drains'
      ? `pool ${event.pool}: all servers ask to be drained, so requests that cannot wait go to them all the same`
      : `pool ${event.pool}: no server looks good, so requests that cannot wait go to those that can be reached`,
  'pool-calm': (event) => `pool ${event.pool}: servers are chosen by their state again`,
  'failover-began': (event) => `pool ${event.pool} has no server up: pool ${event.to} stands in for it`,
  'failover-ended': (event) =>
    event.reason === 'lost'
      ? `pool ${event.pool}: those that stand in for it have no server up either`
      : `pool ${event.pool} has a server up again, and serves by itself`,
  'buckets-moved': (event, name) => `${event.queue}: ${name(event.server)} ${event.cause}, ${bucketsText(event, name)}`,
  'mode-flipped': (event) => `${event.route} now ${event.to === 'queue' ? 'queues' : 'goes direct'}: ${event.reason}`,
  'mode-switched': (event) => `${event.route}: an operator switched it to ${event.to}`,
  'job-dead': (event) => `job ${event.job} of ${event.queue} is dead: ${event.reason}, ${event.detail}`,
  'batch-ended': (event) => `batch ${event.batch} has ended: ${event.succeeded} of ${event.total} succeeded`,
  'chain-stopped': (event) => `job ${event.job} of ${event.queue} succeeded, but its chain stops there: ${event.detail}`,
  'attempt-failed': (event, name) => {
    const next = event.retryInMs === undefined ? '' : `; again in ${spanText(event.retryInMs)}`
    return `job ${event.job} of ${event.queue}: attempt ${event.attempt} on ${name(event.server)} failed, ${event.reason}${next}`
  },
  'job-deferred': (event, name) =>
    `job ${event.job} of ${event.queue}: ${name(event.server)} goes on with it and reports the end within ${spanText(event.forMs)}`,
  'webhook-disabled': (event) => `webhook endpoint ${event.endpoint} is disabled: ${event.reason}`,
  'webhook-enabled': (event) => `webhook endpoint ${event.endpoint} is enabled`,
  guard: guardText,
  'limit-reached': (event) => `limit reached: ${event.limit} at ${event.where} (${event.value})`,
  'connections-refused': (event) =>
    `${event.listener}: ${event.count === 1 ? 'a connection was' : `${event.count} connections were`} refused before a request, the last one of ${event.peer}: ${event.reason}`,
  'certificates-read': (event) => `${event.listener}: new certificates are served: ${event.names.join(', ')}`,
  'certificate-refused': (event) => `${event.listener}: what changed is not served, the certificates before go on: ${event.reason}`,
  'certificate-expires': (event) =>
    `${event.listener}: the certificate of ${event.names.join(', ')} ${expiryText(event.leftMs)}: ${event.file}`,
  'sync-slow': (event) => `slow disk: a sync of ${event.operations} operations took ${spanText(event.tookMs)}`,
  'store-corrupt': (event) => `store corrupt: ${event.what}`,
  'config-reloaded': (event) =>
    `${event.file} was read again and holds from now on${event.needsRestart.length === 0 ? '' : `; only after a restart: ${event.needsRestart.join(', ')}`}`,
  'config-refused': (event) => {
    const [first = 'it cannot be read', ...more] = event.problems
    return `${event.file} is refused, the configuration before it goes on: ${first}${more.length === 0 ? '' : ` (and ${more.length} more)`}`
  },
  'upgrade-began': (event) => `pid ${event.pid} is started to take over`,
  upgraded: (event) => `pid ${event.pid} has taken over; this process ends when its last calls have`,
  'upgrade-failed': (event) => `nobody takes over, this process goes on: ${event.reason}`,
  warning: (event) => `warning: ${event.message}`,
  fatal: (event) => `fatal: ${event.message}`,
}

function describe<T extends GatewayEvent['type']>(
  event: Extract<GatewayEvent, { readonly type: T }>,
  name: (server: string) => string,
): string {
  return (TEXTS[event.type] as Texts[T])(event, name)
}

export function createEventText(options: EventTextOptions): EventText {
  const name = options.serverName ?? ((server: string): string => server)
  let change: ServerChange | undefined
  let moves: BucketsMoved[] = []
  let timer: NodeJS.Timeout | undefined

  function flush(): void {
    clearTimeout(timer)
    if (change === undefined) return
    const line = oneLine(serverText(change, moves, name))
    change = undefined
    moves = []
    options.write(line)
  }

  function print(event: GatewayEvent): void {
    const cause = change?.type === 'server-down' ? 'down' : 'up'
    if (event.type === 'buckets-moved' && change?.server === event.server && cause === event.cause) {
      moves.push(event)
      return
    }
    flush()
    if (event.type === 'server-down' || event.type === 'server-up') {
      change = event
      timer = setTimeout(flush, options.joinMs ?? 100).unref()
    } else {
      options.write(eventText(event, name))
    }
  }

  return { print, flush }
}
