/**
 * The queue API of a running gateway, asked at its admin address. What it refuses is a value: one line for people, with what it said. Options
 * that all commands for queues have in common stand here as well.
 */
import { isMapping } from '../lib/mapping.ts'
import type { Millis } from '../lib/units.ts'
import { ADMIN_OPTION, type AdminAddress, adminAt, exchange, type Told, TOKEN_HINT, TOKEN_VARIABLE } from './admin-client.ts'
import type { Arguments, Io, OptionSpec } from './command.ts'
import { DEFAULT_FILE } from './config-argument.ts'
import { textOf } from './job-facts.ts'

/** A purge or a search may take a while. */
const PATIENCE_MS: Millis = 30_000

export interface Answer {
  readonly status: number
  /** As it came. */
  readonly text: string
  /** Undefined: the body was empty. */
  readonly document: unknown
}

export type Query = Readonly<Record<string, string | undefined>>

export const CONNECTION_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  file: { type: 'string', short: 'f', value: 'FILE', help: `the configuration that tells the admin address (default: ${DEFAULT_FILE})` },
  admin: ADMIN_OPTION,
}
export const JSON_OPTION: OptionSpec = { type: 'boolean', help: 'print the answer as JSON' }
export const QUEUE_OPTION: OptionSpec = { type: 'string', short: 'q', value: 'QUEUE', help: 'of this queue' }
export const CONNECTION_DETAILS = `The admin address and its token come from the configuration; with --admin the token is read from the variable ${TOKEN_VARIABLE}.`

export class QueueApi {
  readonly admin: AdminAddress

  constructor(admin: AdminAddress) {
    this.admin = admin
  }

  get(path: string, query: Query = {}): Promise<Told<Answer>> {
    const pairs = Object.entries(query).filter((pair): pair is [string, string] => pair[1] !== undefined)
    return this.#ask('GET', pairs.length === 0 ? path : `${path}?${new URLSearchParams(pairs).toString()}`)
  }

  post(path: string, document?: unknown): Promise<Told<Answer>> {
    return this.#ask('POST', path, document)
  }

  change(method: 'PUT' | 'PATCH' | 'DELETE', path: string, document?: unknown): Promise<Told<Answer>> {
    return this.#ask(method, path, document)
  }

  delete(path: string): Promise<Told<Answer>> {
    return this.#ask('DELETE', path)
  }

  async #ask(method: string, path: string, document?: unknown): Promise<Told<Answer>> {
    const told = await exchange(this.admin, `/api/${path}`, { method, document, patienceMs: PATIENCE_MS })
    if ('wrong' in told) return told
    const { status, ok, text } = told.value
    const read = parsed(text)
    return ok && (text === '' || read !== undefined)
      ? { value: { status, text, document: read } }
      : { wrong: wrongText(this.admin.url, status, read) }
  }
}

/** Undefined: it is no JSON. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

function wrongText(url: string, status: number, document: unknown): string {
  if (status === 401 || status === 403) return `${url} answered ${status}${TOKEN_HINT}`
  if (!isMapping(document)) return `what answers at ${url} is not the admin address of a gateway`
  // Ours have a code; without one it is the "not found" of a gateway that has no such API.
  if (document['code'] === undefined && status === 404)
    return `the gateway at ${url} does not have the queue API; it is of an older version`
  return (textOf(document['detail']) ?? textOf(document['title']) ?? `${url} answered ${status}`).replace(/\.$/, '')
}

/** Undefined: it has been said what is wrong, the exit code is 2. */
export async function connect(args: Arguments, io: Io, command: string, file = args.text('file')): Promise<QueueApi | undefined> {
  const admin = await adminAt({ url: args.text('admin'), file }, io, command)
  return admin === undefined ? undefined : new QueueApi(admin)
}

/** A name in a path. */
export function segment(name: string): string {
  return encodeURIComponent(name)
}

/** The queue that was named, before or behind `--queue`; both: the first one wins over nothing. */
export function queueNamed(args: Arguments, at = 0): string | undefined {
  return args.text('queue') ?? args.positionals[at]
}
