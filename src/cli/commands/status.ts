/** `spillway status`: asks a running gateway, over its admin address, how it is, and says what needs a look. */
import type { AdminStatus, PoolStatus, QueueStatus, ServerStatus, StoreStatus } from '../../admin/status.ts'
import { spanText } from '../../telemetry/event-text.ts'
import { ADMIN_OPTION, askStatus, findAdmin, notAdmin, TOKEN_VARIABLE } from '../admin-client.ts'
import type { Command } from '../command.ts'
import { EXIT } from '../command.ts'
import { DEFAULT_FILE } from '../config-argument.ts'
import { latencyText, sizeText } from '../doctor/finding.ts'
import { causesOf } from '../doctor/running.ts'

export const statusCommand: Command = {
  name: 'status',
  positionals: ['[file]'],
  summary: `Ask a running gateway how it is. Its admin address and token come from the configuration (default: ${DEFAULT_FILE}).`,
  details: `Without a file, --admin names the address, and the token is read from the variable ${TOKEN_VARIABLE}.`,
  options: {
    admin: ADMIN_OPTION,
    json: { type: 'boolean', help: 'print the status document as it is' },
  },
  async run(args, io) {
    const admin = await findAdmin(args, io, 'status')
    if (admin === undefined) return EXIT.usage
    const told = await askStatus(admin)
    const shown = 'wrong' in told ? told : (textOf(told.value) ?? notAdmin(admin))
    if (typeof shown === 'object') io.err(`spillway status: ${shown.wrong}\n`)
    else io.out(args.has('json') && 'text' in told ? `${told.text.trimEnd()}\n` : shown)
    return typeof shown === 'object' ? EXIT.failed : EXIT.ok
  },
}

/** Undefined: it has the outline of a status and something else inside. */
function textOf(status: AdminStatus): string | undefined {
  try {
    return statusText(status)
  } catch {
    return undefined
  }
}

export function statusText(status: AdminStatus): string {
  const { version, pid, uptimeMs, ready, listeners } = status
  const lines = [
    `spillway ${version}  pid ${pid}  up ${spanText(uptimeMs)}  ${ready.ok ? 'ready' : `not ready: ${ready.reason}`}  ${listeners.join(', ')}`,
  ]
  // Older gateways tell nothing about their store.
  if ((status.store as StoreStatus | undefined) !== undefined) lines.push(storeLine(status.store))
  lines.push('', ...status.pools.flatMap(poolLines))
  if (status.queues.length > 0) lines.push('', ...status.queues.map(queueLine))
  const causes = causesOf(status).filter((cause) => cause.shown !== true)
  if (causes.length > 0) lines.push('', 'needs a look:')
  for (const { check, says, todo } of causes) lines.push(`  ${check}: ${says}`, ...(todo === undefined ? [] : [`    -> ${todo}`]))
  return `${lines.join('\n')}\n`
}

function storeLine({ engine, diskBytes, freeBytes, syncs, path }: StoreStatus): string {
  const parts = [`store ${engine}${path === undefined ? '' : ` ${path}`}`]
  if (diskBytes !== undefined) parts.push(`${sizeText(diskBytes)}${freeBytes === undefined ? '' : `, ${sizeText(freeBytes)} free`}`)
  if (syncs.count > 0) parts.push(`syncs ${latencyText(syncs.meanMs)}, worst ${latencyText(syncs.worstMs)}`)
  return parts.join('  ')
}

function poolLines(pool: PoolStatus): string[] {
  const width = Math.max(0, ...pool.servers.map((server) => server.name.length))
  const servers = pool.servers.map((server) => {
    const tunnels = server.tunnels > 0 ? `, ${server.tunnels} tunnels` : ''
    return `  ${server.name.padEnd(width)}  ${server.state.padEnd(8)}  ${server.inFlight} in flight${tunnels}${reasonText(server)}`
  })
  const failover = pool.failover === undefined ? '' : `  ${pool.failover} stands in for it`
  return [`pool ${pool.name}  ${pool.balance}  ${pool.waiting} waiting${failover}`, ...servers]
}

function reasonText({ reason = '', since, state, restsMs = 0 }: ServerStatus): string {
  if (restsMs > 0) return `  rests for ${spanText(restsMs)}: it answered 429 or 503`
  if (reason === '') return ''
  return `  ${reason}${state === 'down' && since !== undefined ? `, for ${spanText(Math.max(0, Date.now() - since))}` : ''}`
}

function queueLine(queue: QueueStatus): string {
  const counts = Object.entries(queue.jobs).filter(([, count]) => count > 0)
  const jobs = counts.length === 0 ? 'empty' : counts.map(([status, count]) => `${count} ${status}`).join(', ')
  const later = queue.scheduled > 0 ? ` (${queue.scheduled} wait for time)` : ''
  const oldest = queue.oldestWaitingMs === undefined ? '' : `  oldest waits ${spanText(queue.oldestWaitingMs)}`
  const running = queue.oldestRunningMs === undefined ? '' : `  oldest runs ${spanText(queue.oldestRunningMs)}`
  const dead = Object.entries(queue.dead).map(([reason, count]) => `${count} ${reason}`)
  const deadText = dead.length === 0 ? '' : `  dead: ${dead.join(', ')}`
  const pool = queue.pool === '' ? 'no pool' : queue.pool
  return `queue ${queue.name} -> ${pool}  ${jobs}${later}${oldest}${running}${deadText}`
}
