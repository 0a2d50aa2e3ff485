/** `spillway status`: asks a running gateway, over its admin address, how it is. */
import { existsSync } from 'node:fs'
import type { AdminStatus, PoolStatus, QueueStatus } from '../../admin/status.ts'
import { spanText } from '../../telemetry/event-text.ts'
import type { Arguments, Command, Io } from '../command.ts'
import { EXIT } from '../command.ts'
import { DEFAULT_FILE, readConfigOrTell } from '../config-argument.ts'

const PATIENCE_MS = 5000
const TOKEN_VARIABLE = 'SPILLWAY_ADMIN_TOKEN'

export const statusCommand: Command = {
  name: 'status',
  positionals: ['[file]'],
  summary: `Ask a running gateway how it is. Its admin address and token come from the configuration (default: ${DEFAULT_FILE}).`,
  details: `Without a file, --admin names the address, and the token is read from the variable ${TOKEN_VARIABLE}.`,
  options: {
    admin: { type: 'string', value: 'URL', help: 'the admin address (default without a file: http://127.0.0.1:9900)' },
    json: { type: 'boolean', help: 'print the status document as it is' },
  },
  async run(args, io) {
    const admin = await findAdmin(args, io)
    if (admin === undefined) return EXIT.usage
    let answer: Response
    try {
      const headers = admin.token === undefined ? {} : { authorization: `Bearer ${admin.token}` }
      answer = await fetch(`${admin.url}/status`, { headers, signal: AbortSignal.timeout(PATIENCE_MS) })
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
      const code = (cause as NodeJS.ErrnoException).code ?? (cause instanceof Error ? cause.message : String(cause))
      io.err(`spillway status: no gateway answers at ${admin.url} (${code})\n`)
      return EXIT.failed
    }
    const text = await answer.text()
    if (!answer.ok) {
      const hint = answer.status === 401 || answer.status === 403 ? `; it wants its admin token, see ${TOKEN_VARIABLE}` : ''
      io.err(`spillway status: ${admin.url} answered ${answer.status}${hint}\n`)
      return EXIT.failed
    }
    io.out(args.has('json') ? `${text.trimEnd()}\n` : statusText(JSON.parse(text) as AdminStatus))
    return EXIT.ok
  },
}

interface AdminAddress {
  readonly url: string
  readonly token: string | undefined
}

async function findAdmin(args: Arguments, io: Io): Promise<AdminAddress | undefined> {
  const url = args.text('admin')
  const file = args.positionals[0]
  const token = io.environment[TOKEN_VARIABLE]
  if (url !== undefined || (file === undefined && !existsSync(DEFAULT_FILE))) {
    return { url: (url ?? 'http://127.0.0.1:9900').replace(/\/+$/, ''), token }
  }
  const config = await readConfigOrTell(file, io)
  if (config === undefined) return undefined
  const { host, port } = config.admin.address
  // A wildcard is an address to listen on, not one to connect to.
  const target = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return { url: `http://${target.includes(':') ? `[${target}]` : target}:${port}`, token: config.admin.token ?? token }
}

export function statusText(status: AdminStatus): string {
  const { version, pid, uptimeMs, ready, listeners } = status
  const lines = [
    `spillway ${version}  pid ${pid}  up ${spanText(uptimeMs)}  ${ready.ok ? 'ready' : `not ready: ${ready.reason}`}  ${listeners.join(', ')}`,
  ]
  lines.push('', ...status.pools.flatMap(poolLines))
  if (status.queues.length > 0) lines.push('', ...status.queues.map(queueLine))
  return `${lines.join('\n')}\n`
}

function poolLines(pool: PoolStatus): string[] {
  const width = Math.max(0, ...pool.servers.map((server) => server.name.length))
  const servers = pool.servers.map((server) => {
    const reason = server.reason === undefined || server.reason === '' ? '' : `  ${server.reason}`
    return `  ${server.name.padEnd(width)}  ${server.state.padEnd(8)}  ${server.inFlight} in flight${server.tunnels > 0 ? `, ${server.tunnels} tunnels` : ''}${reason}`
  })
  return [`pool ${pool.name}  ${pool.balance}  ${pool.waiting} waiting`, ...servers]
}

function queueLine(queue: QueueStatus): string {
  const counts = Object.entries(queue.jobs).filter(([, count]) => count > 0)
  const jobs = counts.length === 0 ? 'empty' : counts.map(([status, count]) => `${count} ${status}`).join(', ')
  const oldest = queue.oldestWaitingMs === undefined ? '' : `  oldest waits ${spanText(queue.oldestWaitingMs)}`
  const dead = Object.entries(queue.dead).map(([reason, count]) => `${count} ${reason}`)
  return `queue ${queue.name} -> ${queue.pool}  ${jobs}${oldest}${dead.length === 0 ? '' : `  dead: ${dead.join(', ')}`}`
}
