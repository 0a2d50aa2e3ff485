/**
 * Runs a gateway until it is told to stop. SIGTERM or SIGINT: drain, exit 0; a second one: exit 1 at once. SIGHUP: reads its configuration
 * again. A gateway that cannot start, or that fails while it runs, is one line and exit 1.
 */
import type { Config, HostPort } from '../config/config.ts'
import type { LoadResult } from '../config/load.ts'
import { createTelemetry, type OwnedTelemetry } from '../telemetry/create-telemetry.ts'
import type { Io } from './command.ts'
import { EXIT, type ExitCode } from './command.ts'
import { stopRequest } from './stop-request.ts'
import { version } from './version.ts'

/** `readConfig`: reads the file again, for a reload; absent where there is none. */
export async function serve(config: Config, io: Io, readConfig?: () => Promise<LoadResult>): Promise<ExitCode> {
  // Only this command needs all of the gateway; the others start faster without.
  const { startGateway } = await import('../gateway.ts')
  const telemetry = openTelemetry(config, io)
  if (telemetry === undefined) return EXIT.failed
  const stopped = stopRequest([], () => telemetry.flushSync())
  const reloads = reloadRequests()
  try {
    const gateway = await startGateway(config, { telemetry, version: version(), ...(readConfig !== undefined && { readConfig }) })
    // Its outcome is an event, and stands in the status.
    reloads.onRequest(() => void gateway.reload())
    const failure = await Promise.race([gateway.fatal, stopped])
    if (failure instanceof Error) {
      telemetry.event({ type: 'fatal', message: failure.message })
      return EXIT.failed
    }
    const lateFailure = await Promise.race([gateway.fatal, gateway.drain()])
    if (lateFailure instanceof Error) {
      telemetry.event({ type: 'fatal', message: lateFailure.message })
      return EXIT.failed
    }
    await gateway.close()
    return EXIT.ok
  } catch (error) {
    telemetry.flushSync()
    io.err(`spillway: ${startFailure(error, config)}\n`)
    return EXIT.failed
  } finally {
    await telemetry.close()
  }
}

/** SIGHUP ends a process that does not listen to it: from the first moment on it is heard, and one that came too early is not forgotten. */
function reloadRequests(): { onRequest(listener: () => void): void } {
  let asked = false
  let listener: (() => void) | undefined
  process.on('SIGHUP', () => {
    if (listener === undefined) asked = true
    else listener()
  })
  return {
    onRequest(reload) {
      listener = reload
      if (asked) reload()
    },
  }
}

/** Undefined: the access log cannot be had, and it has been said why. Apart from the start of the gateway, whose errors have the same codes. */
function openTelemetry({ log }: Config, io: Io): OwnedTelemetry | undefined {
  try {
    return createTelemetry({ format: log.format, access: log.access, version: version() })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const hint = code === 'ENOENT' ? 'make its folder, or change log.access' : 'change log.access or its rights'
    io.err(`spillway: the access log ${log.access} cannot be written (${code ?? message}); ${hint}\n`)
    return undefined
  }
}

function text({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** One line for what can go wrong at start-up, saying what to change. */
function startFailure(error: unknown, config: Config): string {
  const { code, address, port, path, message } = (error instanceof Error ? error : new Error(String(error))) as NodeJS.ErrnoException & {
    readonly address?: string
    readonly port?: number
  }
  const where = address !== undefined && port !== undefined && port >= 0 ? text({ host: address, port }) : 'an address'
  const key = address === config.admin.address.host && port === config.admin.address.port ? 'admin.address' : 'listeners'
  if (code === 'EADDRINUSE') return `${where} is in use by another process; change ${key}, or stop that process`
  if (code === 'EADDRNOTAVAIL') return `${where} is no address of this machine; change ${key}`
  if (code === 'EACCES' && address !== undefined) return `${where} needs more rights to listen on; change ${key} to a port above 1023`
  if (code !== undefined && ['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'ENOSPC', 'EEXIST'].includes(code)) {
    return `the store ${path ?? config.store.path} cannot be written (${code}); change store.path or its rights`
  }
  return (message.split('\n')[0] ?? '') || 'the gateway could not start'
}
