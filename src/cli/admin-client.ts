/**
 * Where a running gateway's admin address is, and asking there. The token comes from the configuration or the environment and is never shown.
 * What goes wrong is one line for people.
 */
import { existsSync } from 'node:fs'
import type { AdminStatus } from '../admin/status.ts'
import type { Config } from '../config/config.ts'
import { hostPortText } from '../lib/host-port.ts'
import type { Millis } from '../lib/units.ts'
import type { Arguments, Io, OptionSpec } from './command.ts'
import { DEFAULT_FILE, readConfigOrTell } from './config-argument.ts'

const PATIENCE_MS: Millis = 5000
export const TOKEN_VARIABLE = 'SPILLWAY_ADMIN_TOKEN'
export const TOKEN_HINT = `; it wants its admin token, see ${TOKEN_VARIABLE}`
const DEFAULT_URL = 'http://127.0.0.1:9900'

export const ADMIN_OPTION: OptionSpec = {
  type: 'string',
  value: 'URL',
  help: `the admin address (default without a file: ${DEFAULT_URL})`,
}

export interface AdminAddress {
  readonly url: string
  readonly token: string | undefined
}

/** `absent`: nobody listens there, rather than somebody who does not answer well. */
export type Told<T> = { readonly value: T } | { readonly wrong: string; readonly absent?: boolean }

export interface AdminRequest {
  readonly method?: string
  readonly document?: unknown
  /** Infinity: as long as it takes. */
  readonly patienceMs?: Millis
}

export interface AdminAnswer {
  readonly status: number
  /** Below 300. */
  readonly ok: boolean
  readonly text: string
}

/** By `--admin`, else by the configuration `[file]`, else the default. Undefined: it has been said what is wrong, the exit code is 2. */
export async function findAdmin(args: Arguments, io: Io, command: string): Promise<AdminAddress | undefined> {
  return adminAt({ url: args.text('admin'), file: args.positionals[0] }, io, command)
}

export interface AdminWhere {
  readonly url: string | undefined
  /** A configuration. */
  readonly file: string | undefined
}

export async function adminAt({ url, file }: AdminWhere, io: Io, command: string): Promise<AdminAddress | undefined> {
  const wrong = url === undefined ? undefined : wrongUrl(url)
  if (wrong !== undefined) {
    io.err(`spillway ${command}: ${wrong}\n`)
    return undefined
  }
  if (url !== undefined || (file === undefined && !existsSync(DEFAULT_FILE))) {
    return { url: (url ?? DEFAULT_URL).replace(/\/+$/, ''), token: io.environment[TOKEN_VARIABLE] }
  }
  const config = await readConfigOrTell(file, io)
  if (config !== undefined) return adminOf(config, io)
  // Just when a file was spoilt, people ask.
  io.err(`spillway ${command}: a gateway that runs can be asked without the file: spillway ${command} --admin ${DEFAULT_URL}\n`)
  return undefined
}

export function adminOf(config: Config, io: Io): AdminAddress {
  const { host, port } = config.admin.address
  // A wildcard is an address to listen on, not one to connect to.
  const target = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  const url = `http://${hostPortText({ host: target, port })}`
  return { url, token: config.admin.token ?? io.environment[TOKEN_VARIABLE] }
}

export function wrongUrl(text: string): string | undefined {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') {
    return `--admin must be a URL such as ${DEFAULT_URL}, not ${JSON.stringify(text)}`
  }
  return url.username === '' && url.password === ''
    ? undefined
    : `--admin takes no user and password; the token is read from ${TOKEN_VARIABLE}`
}

/** The text of an answer with a status below 300. */
export async function askAdmin(admin: AdminAddress, path: string): Promise<Told<string>> {
  const told = await exchange(admin, path)
  if ('wrong' in told) return told
  const { status, ok, text } = told.value
  if (ok) return { value: text }
  return { wrong: `${admin.url} answered ${status}${status === 401 || status === 403 ? TOKEN_HINT : ''}` }
}

/** A whole answer of any status. `wrong`: none came. */
export async function exchange({ url, token }: AdminAddress, path: string, request: AdminRequest = {}): Promise<Told<AdminAnswer>> {
  const { method = 'GET', document, patienceMs = PATIENCE_MS } = request
  const headers = {
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
    ...(document !== undefined && { 'content-type': 'application/json' }),
  }
  const body = document === undefined ? {} : { body: JSON.stringify(document) }
  const patience = patienceMs === Number.POSITIVE_INFINITY ? {} : { signal: AbortSignal.timeout(patienceMs) }
  try {
    const answer = await fetch(`${url}${path}`, { method, headers, ...body, ...patience })
    return { value: { status: answer.status, ok: answer.ok, text: await answer.text() } }
  } catch (error) {
    const why = reason(error, patienceMs)
    return { wrong: `no gateway answers at ${url} (${why})`, absent: why === 'ECONNREFUSED' }
  }
}

/** Only what the network said: what `fetch` itself says about a request could quote the token. */
function reason(error: unknown, patienceMs: Millis): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return `no whole answer within ${patienceMs} ms`
  const cause: NodeJS.ErrnoException | undefined = error.cause instanceof Error ? error.cause : undefined
  return cause?.code ?? cause?.message ?? 'the request could not be made'
}

/** Known by its outline; a gateway of another version may tell less than the type says. */
export async function askStatus(admin: AdminAddress): Promise<Told<AdminStatus> & { readonly text?: string }> {
  const told = await askAdmin(admin, '/status')
  if ('wrong' in told) return told
  const status = readStatus(told.value)
  return status === undefined ? notAdmin(admin) : { value: status, text: told.value }
}

export function notAdmin({ url }: AdminAddress): { readonly wrong: string } {
  return { wrong: `what answers at ${url} is not the admin address of a gateway` }
}

function readStatus(body: string): AdminStatus | undefined {
  try {
    const status: unknown = JSON.parse(body)
    return isStatus(status) ? status : undefined
  } catch {
    return undefined
  }
}

function isStatus(value: unknown): value is AdminStatus {
  if (typeof value !== 'object' || value === null) return false
  const { version, pid, uptimeMs, ready, listeners, pools, queues } = value as Partial<Record<keyof AdminStatus, unknown>>
  if (typeof version !== 'string' || typeof pid !== 'number' || typeof uptimeMs !== 'number') return false
  return typeof ready === 'object' && ready !== null && [listeners, pools, queues].every(Array.isArray)
}
