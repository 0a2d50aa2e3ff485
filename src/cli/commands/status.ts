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
    const told = await askAdmin(admin, args.has('json'))
    if ('text' in told) io.out(told.text)
    else io.err(`spillway status: ${told.wrong}\n`)
    return 'text' in told ? EXIT.ok : EXIT.failed
  },
}

type Told = { readonly text: string } | { readonly wrong: string }

async function askAdmin({ url, token }: AdminAddress, json: boolean): Promise<Told> {
  let answer: Response
  let body: string
  try {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    answer = await fetch(`${url}/status`, { headers, signal: AbortSignal.timeout(PATIENCE_MS) })
    body = await answer.text()
  } catch (error) {
    return { wrong: `no gateway answers at ${url} (${reason(error)})` }
  }
  if (!answer.ok) {
    const hint = answer.status === 401 || answer.status === 403 ? `; it wants its admin token, see ${TOKEN_VARIABLE}` : ''
    return { wrong: `${url} answered ${answer.status}${hint}` }
  }
  const text = readStatus(body, json)
  return text === undefined ? { wrong: `what answers at ${url} is not the admin address of a gateway` } : { text }
}

/** Only what the network said: what `fetch` itself says about a request could quote the token. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return `no whole answer within ${PATIENCE_MS} ms`
  const cause: NodeJS.ErrnoException | undefined = error.cause instanceof Error ? error.cause : undefined
  return cause?.code ?? cause?.message ?? 'the request could not be made'
}

/** Undefined: this is no gateway's status. */
function readStatus(body: string, json: boolean): string | undefined {
  try {
    const status: unknown = JSON.parse(body)
    if (!isStatus(status)) return undefined
    const text = statusText(status)
    return json ? `${body.trimEnd()}\n` : text
  } catch {
    return undefined
  }
}

/** By its outline; who has that and something else inside is found out when it is written as text. */
function isStatus(value: unknown): value is AdminStatus {
  if (typeof value !== 'object' || value === null) return false
  const { version, pid, uptimeMs, ready, listeners, pools, queues } = value as Partial<Record<keyof AdminStatus, unknown>>
  if (typeof version !== 'string' || typeof pid !== 'number' || typeof uptimeMs !== 'number') return false
  return typeof ready === 'object' && ready !== null && [listeners, pools, queues].every(Array.isArray)
}

interface AdminAddress {
  readonly url: string
  readonly token: string | undefined
}

async function findAdmin(args: Arguments, io: Io): Promise<AdminAddress | undefined> {
  const url = args.text('admin')
  const file = args.positionals[0]
  const token = io.environment[TOKEN_VARIABLE]
  const wrong = url === undefined ? undefined : wrongUrl(url)
  if (wrong !== undefined) {
    io.err(`spillway status: ${wrong}\n`)
    return undefined
  }
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

function wrongUrl(text: string): string | undefined {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') {
    return `--admin must be a URL such as http://127.0.0.1:9900, not ${JSON.stringify(text)}`
  }
  return url.username === '' && url.password === ''
    ? undefined
    : `--admin takes no user and password; the token is read from ${TOKEN_VARIABLE}`
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
