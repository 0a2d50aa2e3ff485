/** For commands that work on a store's files: where the store is, whether a gateway has it, and asking that gateway. Reports as text for people. */
import { holderOf } from '../engines/embedded/offline-folder.ts'
import { CopyRefused } from '../engines/embedded/store-copy.ts'
import { StoreOpenError } from '../engines/embedded/store-open-error.ts'
import type { Maintenance, MaintenanceReport } from '../ports/job-store.ts'
import type { Config } from '../config/config.ts'
import { type AdminAddress, adminAt, adminOf, reason, type Told } from './admin-client.ts'
import { type Arguments, EXIT, type ExitCode, type Io, type OptionSpec } from './command.ts'
import { sizeText } from './doctor/finding.ts'

/** False also where there is no store at all. */
function isInUse(path: string): boolean {
  try {
    return holderOf(path) !== undefined
  } catch {
    return false
  }
}

export const GATEWAY_OPTION: OptionSpec = { type: 'string', value: 'URL', help: 'the admin address of the gateway that works on the store' }

/** The gateway to ask; `offline`: there is none. Undefined: it has been said what is wrong, the exit code is 2. */
export async function gatewayOf(
  args: Arguments,
  io: Io,
  { command, config }: { readonly command: string; readonly config: Config | undefined },
): Promise<AdminAddress | 'offline' | undefined> {
  if (args.has('admin')) return adminAt({ url: args.text('admin'), file: undefined }, io, command)
  return config !== undefined && isInUse(config.store.path) ? adminOf(config, io) : 'offline'
}

/** As long as it takes: the gateway shows signs of life meanwhile. */
async function askGateway({ url, token }: AdminAddress, work: Maintenance): Promise<Told<MaintenanceReport>> {
  const { kind, ...document } = work
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
  try {
    const answer = await fetch(`${url}/api/store/${kind}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...authorization },
      body: JSON.stringify(document),
    })
    const read: unknown = await answer.json().catch(() => undefined)
    if (answer.ok && isReport(read)) return { value: read }
    const { detail, title } = (read ?? {}) as { detail?: unknown; title?: unknown }
    return {
      wrong: `${url} answered ${answer.status}: ${String(detail ?? title ?? 'it has no such address; it may be of an older version')}`,
    }
  } catch (error) {
    return { wrong: `the gateway at ${url} did not answer to the end (${reason(error)})` }
  }
}

function isReport(value: unknown): value is MaintenanceReport {
  return typeof value === 'object' && value !== null && Array.isArray((value as { problems?: unknown }).problems)
}

/** Done by that gateway, and told. */
export async function byGateway(io: Io, admin: AdminAddress, work: Maintenance, done: string): Promise<ExitCode> {
  const told = await askGateway(admin, work)
  if ('value' in told) return tellReport(io, done, told.value)
  io.err(`spillway ${work.kind}: ${told.wrong}\n`)
  return EXIT.failed
}

/** What is refused, or cannot be opened, is one line; anything else is a bug. */
export function carriedOut(io: Io, command: string, work: () => ExitCode): ExitCode {
  try {
    return work()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (!(error instanceof CopyRefused || error instanceof StoreOpenError) && code === undefined) throw error
    io.err(`spillway ${command}: ${message}\n`)
    return EXIT.failed
  }
}

/** Exit code 1 when something is wrong. */
export function tellReport(io: Io, done: string, { ok, jobs, bytes, problems }: MaintenanceReport): ExitCode {
  for (const problem of problems) io.err(`${problem}\n`)
  if (ok) io.out(`${done}: ${jobs} ${jobs === 1 ? 'job' : 'jobs'}, ${sizeText(bytes)}\n`)
  return ok ? EXIT.ok : EXIT.failed
}
