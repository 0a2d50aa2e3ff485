/**
 * What is wrong with a running gateway, from what its admin address tells: one finding per cause, with the next command to type.
 * `status` prints them below its facts, `doctor` among its own. A gateway of another version may tell less than the type says.
 */
import type {
  AdminStatus,
  CertificateStatus,
  EndpointStatus,
  PoolStatus,
  QueueStatus,
  ServerStatus,
  StoreStatus,
} from '../../admin/status.ts'
import { EXPIRES_SOON_MS } from '../../core/tls/expiry.ts'
import type { EpochMillis, Millis } from '../../lib/units.ts'
import { expiryText, spanText } from '../../telemetry/event-text.ts'
import { SLOW_SYNC_MS } from '../../telemetry/store-events.ts'
import { shown } from '../words.ts'
import { type Finding, latencyText, sizeText } from './finding.ts'

/** `shown`: stands in the facts of `status` already. */
export interface Cause extends Finding {
  readonly shown?: boolean
}

/** Mean of the syncs of about a minute. A healthy disk needs a tenth of it. */
const SLOW_MEAN_MS: Millis = 50
/** Jobs that wait longer want an explanation. */
const BACKLOG_MS: Millis = 300_000
/** A hand-out of a queue whose timeout is not known. */
const LONG_RUN_MS: Millis = 900_000
const NEARLY_FULL = 0.8

export function causesOf(status: AdminStatus): readonly Cause[] {
  const unreadable = 'the store cannot be read any more'
  const causes: Cause[] = []
  if (!status.ready.ok) {
    const todo = status.ready.reason.startsWith('store') ? `${unreadable}; its events say why: docs/runbook/store-corrupt.md` : undefined
    causes.push({
      check: 'gateway',
      level: 'fail',
      says: `not ready: ${status.ready.reason}`,
      ...(todo !== undefined && { todo }),
      shown: true,
    })
  }
  causes.push(...configCauses(status), ...guardCauses(status))
  // Older gateways tell nothing about their store.
  if ((status.store as StoreStatus | undefined) !== undefined) causes.push(...storeCauses(status.store))
  for (const pool of status.pools) causes.push(...poolCauses(pool))
  for (const queue of status.queues) {
    causes.push(
      ...queueCauses(
        queue,
        status.pools.find(({ name }) => name === queue.pool),
      ),
    )
  }
  // Older gateways have none.
  for (const certificate of (status.certificates as AdminStatus['certificates'] | undefined) ?? [])
    causes.push(...certificateCauses(certificate, Date.now()))
  for (const endpoint of (status.webhooks as AdminStatus['webhooks'] | undefined) ?? []) causes.push(...endpointCauses(endpoint))
  return causes
}

function endpointCauses({ name, disabledBecause, failingSince }: EndpointStatus): readonly Cause[] {
  const check = `webhooks ${shown(name)}`
  if (disabledBecause !== undefined) {
    const todo = `spillway webhooks test ${name}; when it takes that: spillway webhooks enable ${name}, then spillway webhooks replay ${name}`
    return [{ check, level: 'warn', says: `disabled, and its webhooks become dead letters: ${disabledBecause}`, todo }]
  }
  if (failingSince === undefined) return []
  const says = `nothing was delivered since ${new Date(failingSince).toISOString().slice(0, 19)}Z`
  return [{ check, level: 'warn', says, todo: `spillway webhooks show ${name}` }]
}

export function certificateCauses({ file, names, notAfter }: Omit<CertificateStatus, 'listener'>, now: EpochMillis): readonly Cause[] {
  const leftMs = notAfter - now
  if (leftMs > EXPIRES_SOON_MS) return []
  const says = `that of ${names.length === 0 ? file : names.join(', ')} ${expiryText(leftMs)}: ${file}`
  const todo = 'see why it is not renewed; a new file is found by itself'
  return [{ check: 'certificate', level: leftMs > 0 ? 'warn' : 'fail', says, todo }]
}

/** Older gateways have no guard. */
function guardCauses({ guard }: AdminStatus): readonly Cause[] {
  if (guard === undefined || guard.level === 'calm') return []
  const { level, signal = '', value = 0 } = guard
  const why = `${signal} ${signal === 'loopDelay' ? spanText(value) : `${Math.round(value * 100)} %`}`
  const what = level === 'slow' ? 'new connections are let in slowly' : 'requests are refused, the least urgent first'
  const todo = 'docs/overload.md#the-gateway-itself says what each signal means; give it more of it, or less to do'
  return [{ check: 'guard', level: level === 'slow' ? 'warn' : 'fail', says: `the gateway has too much to do (${why}): ${what}`, todo }]
}

function configCauses({ config }: AdminStatus): readonly Cause[] {
  // Older gateways tell less of their configuration.
  const { refused, needsRestart = [] } = (config as Partial<AdminStatus['config']> | undefined) ?? {}
  const check = 'reload'
  if (refused === undefined) {
    if (needsRestart.length === 0) return []
    const says = `the file was read again, and some of it holds only after a restart: ${needsRestart.join(', ')}`
    return [{ check, level: 'warn', says, todo: 'plan a restart: unfinished jobs are handed back and go on after it' }]
  }
  const [first = 'it could not be read', ...more] = refused.problems
  const says = `a reload was refused at ${new Date(refused.at).toISOString()}, the configuration before it goes on: ${first}`
  const others = more.length === 0 ? '' : ` (and ${more.length} more)`
  return [{ check, level: 'warn', says: says + others, todo: 'spillway check, mend what it names, then spillway reload' }]
}

function storeCauses({ refusing, corrupt, syncs, freeBytes, floorBytes, path = '' }: StoreStatus): readonly Cause[] {
  const causes: Cause[] = []
  const check = 'store'
  if (refusing !== undefined) {
    const todo = refusing.limit === 'disk' ? `make room on the disk of ${path}; nothing that was accepted is lost` : 'let the queues drain'
    const sizes =
      freeBytes === undefined || floorBytes === undefined
        ? undefined
        : `${sizeText(freeBytes)} is free, ${sizeText(floorBytes)} is kept in reserve`
    const detail = refusing.limit === 'disk' ? (sizes ?? refusing.detail) : refusing.detail
    causes.push({ check, level: 'fail', says: `refuses every new job: ${refusing.limit}, ${detail}`, todo })
  } else if (freeBytes !== undefined && floorBytes !== undefined && freeBytes < 4 * floorBytes) {
    const says = `${sizeText(freeBytes)} are left on the disk; new jobs are refused below ${sizeText(floorBytes)}`
    causes.push({ check, level: 'warn', says, todo: `make room on the disk of ${path}` })
  }
  if (corrupt > 0) {
    const todo = 'the events "store corrupt" name them; docs/runbook/store-corrupt.md'
    causes.push({ check, level: 'fail', says: `${corrupt} records failed their checks and were put aside`, todo })
  }
  if (syncs.count > 0 && (syncs.worstMs >= SLOW_SYNC_MS || syncs.meanMs >= SLOW_MEAN_MS)) {
    const says = `the disk is slow: ${syncs.count} syncs of the last minute took ${latencyText(syncs.meanMs)} on average, the worst ${latencyText(syncs.worstMs)}`
    causes.push({
      check,
      level: 'warn',
      says,
      todo: 'every 202 waits for one: see who else writes to this disk (iostat -x 1, spillway doctor)',
    })
  }
  return causes
}

function poolCauses(pool: PoolStatus): readonly Cause[] {
  const check = `pool ${pool.name}`
  const away = pool.servers.filter(({ state }) => state !== 'up')
  const reasons = [...new Set(away.map(({ state, reason = '' }) => (reason === '' ? state : reason)))].join(', ')
  const todo = 'look at the servers, and at what health.path answers there'
  if (pool.servers.length === 0)
    return [
      {
        check,
        level: 'fail',
        says: 'it has no server now',
        todo: 'look whether its servers register themselves, or its names have addresses',
      },
    ]
  if (away.length === pool.servers.length) return [{ check, level: 'fail', says: `no server is up: ${reasons}`, todo }]
  const causes: Cause[] = []
  if (away.length > 0) {
    const says = `${away.length} of ${pool.servers.length} servers are not up (${away.map(({ name }) => name).join(', ')}): ${reasons}`
    causes.push({ check, level: 'warn', says, todo, shown: true })
  }
  if (allRest(pool)) {
    const says = 'every server that is up rests, because it answered 429 or 503'
    causes.push({ check, level: 'warn', says, todo: 'they say that they are overloaded: look at what they wait for, or add servers' })
  }
  return causes
}

function upServers(pool: PoolStatus): readonly ServerStatus[] {
  return pool.servers.filter(({ state }) => state === 'up')
}

function allRest(pool: PoolStatus): boolean {
  return upServers(pool).every(({ restsMs = 0 }) => restsMs > 0)
}

function queueCauses(queue: QueueStatus, pool: PoolStatus | undefined): readonly Cause[] {
  const causes: Cause[] = []
  const check = `queue ${queue.name}`
  const add = (level: Cause['level'], says: string, todo: string): void => void causes.push({ check, level, says, todo })
  if (queue.paused) add('warn', 'paused: it accepts jobs and hands out none', `spillway queues resume ${queue.name}`)
  if (queue.blockedKeys > 0) {
    const keys = queue.blockedKeys === 1 ? '1 key waits' : `${queue.blockedKeys} keys wait`
    add('warn', `${keys} behind a failed job`, `spillway keys blocked ${queue.name}, then redrive the job or release the key`)
  }
  const { oldestRunningMs = 0, timeoutMs } = queue
  if (oldestRunningMs > (timeoutMs === undefined ? LONG_RUN_MS : 2 * timeoutMs)) {
    const limit = timeoutMs === undefined ? '' : `, an attempt may take ${spanText(timeoutMs)}`
    add(
      'warn',
      `a hand-out has been running for ${spanText(oldestRunningMs)}${limit}`,
      `spillway jobs list ${queue.name} --status running, then spillway why <job>`,
    )
  }
  causes.push(...limitCauses(queue, check))
  const { oldestWaitingMs = 0, etaMs = 0 } = queue
  if ((oldestWaitingMs >= BACKLOG_MS || etaMs >= BACKLOG_MS) && !queue.paused) {
    const [says, todo] = backlogReason(queue, pool)
    // What comes faster than it is worked off is told long before the first has waited for so long.
    const waits =
      oldestWaitingMs >= BACKLOG_MS ? `have been waiting for ${spanText(oldestWaitingMs)}` : `wait that take about ${spanText(etaMs)}`
    add('warn', `jobs ${waits}: ${says}`, todo)
  }
  const dead = Object.entries(queue.dead).map(([reason, count]) => `${count} ${reason}`)
  if (dead.length > 0) {
    const todo = `spillway jobs list ${queue.name} --dead, then spillway why <job>`
    causes.push({ check, level: 'note', says: `dead letters: ${dead.join(', ')}`, todo })
  }
  return causes
}

function limitCauses({ jobs, bytes, name, ...queue }: QueueStatus, check: string): readonly Cause[] {
  const limits = queue.limits as QueueStatus['limits'] | undefined
  if (limits === undefined) return []
  const unfinished = (jobs.queued ?? 0) + (jobs.running ?? 0) + (jobs.retrying ?? 0)
  const shares = [
    { share: unfinished / limits.jobs, text: `${unfinished} of ${limits.jobs} jobs (limits.jobs)` },
    { share: bytes / limits.bytes, text: `${sizeText(bytes)} of ${sizeText(limits.bytes)} (limits.bytes)` },
  ]
  return shares
    .filter(({ share }) => share >= NEARLY_FULL)
    .map(({ share, text }) => ({
      check,
      level: share >= 1 ? 'fail' : 'warn',
      says: `${share >= 1 ? 'full, new jobs are refused' : 'nearly full'}: it holds ${text}`,
      todo: `let it drain, or raise the limit of queues.${name}`,
    }))
}

/** Why jobs that could run do not, as far as the figures tell; and what to do. */
function backlogReason(queue: QueueStatus, pool: PoolStatus | undefined): readonly [says: string, todo: string] {
  const running = queue.jobs.running ?? 0
  if (pool === undefined) {
    return running === 0
      ? ['it has no pool, and no pull consumer takes them', 'start a consumer, or see why the consumers do not ask']
      : ['the pull consumers do not keep up', 'start more consumers']
  }
  const up = upServers(pool)
  if (up.length === 0) return [`no server of pool ${pool.name} is up`, 'bring the servers back; the jobs are kept']
  if (allRest(pool)) return ['the servers answer 429 or 503', 'they say that they are overloaded; add servers']
  if (queue.concurrency !== undefined && running >= queue.concurrency * up.length) {
    return [
      `all ${running} places are taken (${queue.concurrency} per server, ${up.length} up)`,
      `add servers, or raise queues.${queue.name}.concurrency`,
    ]
  }
  if (up.every(({ inFlight }) => inFlight >= pool.maxInFlight)) {
    return [`every server has its maxInFlight of ${pool.maxInFlight} requests`, `add servers, or raise pools.${pool.name}.maxInFlight`]
  }
  return ['the figures do not tell why', `spillway jobs list ${queue.name} --status queued, then spillway why <job>`]
}
