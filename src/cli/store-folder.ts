/** For commands that work on a store's files: where the store is, whether a gateway has it, and asking that gateway. Reports as text for people. */
import { holderOf } from '../engines/embedded/offline-folder.ts'
import { CopyRefused } from '../engines/embedded/store-copy.ts'
import { StoreOpenError } from '../engines/embedded/store-open-error.ts'
import type { Maintenance, MaintenanceReport } from '../ports/job-store.ts'
import type { Config } from '../config/config.ts'
import { isMapping } from '../lib/mapping.ts'
import { type AdminAddress, adminAt, adminOf, exchange, type Told, TOKEN_HINT } from './admin-client.ts'
import { type Arguments, complain, EXIT, type ExitCode, type Io, type OptionSpec } from './command.ts'
import { sizeText } from './doctor/finding.ts'
import { textOf } from './job-facts.ts'
import { parsed } from './queue-api.ts'

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
async function askGateway(admin: AdminAddress, work: Maintenance): Promise<Told<MaintenanceReport>> {
  const { kind, ...document } = work
  const told = await exchange(admin, `/api/store/${kind}`, { method: 'POST', document, patienceMs: Number.POSITIVE_INFINITY })
  if ('wrong' in told) return told.absent === true ? told : { wrong: `${told.wrong}; how far it came is not known` }
  const { status, ok, text } = told.value
  const read = parsed(text)
  if (ok && isReport(read)) return { value: read }
  if (status === 401 || status === 403) return { wrong: `${admin.url} answered ${status}${TOKEN_HINT}` }
  const { detail, title } = isMapping(read) ? read : {}
  const says = textOf(detail) ?? textOf(title) ?? 'it has no such address; it may be of an older version'
  return { wrong: `${admin.url} answered ${status}: ${says}` }
}

function isReport(value: unknown): value is MaintenanceReport {
  return isMapping(value) && Array.isArray(value['problems'])
}

/** Done by that gateway, and told. */
export async function byGateway(io: Io, admin: AdminAddress, work: Maintenance, done: string): Promise<ExitCode> {
  const told = await askGateway(admin, work)
  return 'value' in told ? tellReport(io, done, told.value) : complain(io, work.kind, told.wrong)
}

/** What is refused, or cannot be opened, is one line; anything else is a bug. */
export function carriedOut(io: Io, command: string, work: () => ExitCode): ExitCode {
  try {
    return work()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (!(error instanceof CopyRefused || error instanceof StoreOpenError) && code === undefined) throw error
    return complain(io, command, message)
  }
}

/** Exit code 1 when something is wrong. */
export function tellReport(io: Io, done: string, { ok, jobs, bytes, problems }: MaintenanceReport): ExitCode {
  for (const problem of problems) io.err(`${problem}\n`)
  if (ok) io.out(`${done}: ${jobs} ${jobs === 1 ? 'job' : 'jobs'}, ${sizeText(bytes)}\n`)
  return ok ? EXIT.ok : EXIT.failed
}
