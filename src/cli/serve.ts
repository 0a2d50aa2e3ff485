/**
 * Runs a gateway until it is told to stop. SIGTERM or SIGINT: drain, exit 0; a second one: exit 1 at once. SIGHUP: reads its configuration
 * again. SIGUSR2: another process takes over, then as after SIGTERM. A gateway that cannot start, or that fails while it runs, is one line and
 * exit 1.
 */
import { startAdmin } from '../admin/admin.ts'
import type { Config } from '../config/config.ts'
import type { LoadResult } from '../config/load.ts'
import type { Gateway } from '../gateway-options.ts'
import { createTelemetry, type OwnedTelemetry } from '../telemetry/create-telemetry.ts'
import { hostPortText } from '../lib/host-port.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { Io } from './command.ts'
import { EXIT, type ExitCode } from './command.ts'
import { stopRequest } from './stop-request.ts'
import { activatedSockets } from './upgrade/activation.ts'
import { type BoundSocket, Sockets } from './upgrade/sockets.ts'
import { type Successor, successorIn } from './upgrade/successor.ts'
import { Upgrade } from './upgrade/upgrade.ts'
import { version } from './version.ts'

/** `readConfig`: reads the file again, for a reload; absent where there is none. */
export async function serve(config: Config, io: Io, readConfig?: () => Promise<LoadResult>): Promise<ExitCode> {
  const successor = successorIn(process.env)
  const given = successor ?? activatedSockets(process.env, process.pid)
  if ('wrong' in given) {
    io.err(`spillway: ${given.wrong}\n`)
    return EXIT.failed
  }
  const life = { io, readConfig, successor, stopped: stopRequests(successor), reloads: requests('SIGHUP'), upgrades: requests('SIGUSR2') }
  if (successor !== undefined && !(await successor.prepared())) return EXIT.failed
  let ended = await live(config, given.sockets, life)
  while (typeof ended === 'object') ended = await live(ended.again, [], { ...life, successor: undefined })
  return ended
}

interface Life {
  readonly io: Io
  readonly readConfig: (() => Promise<LoadResult>) | undefined
  readonly successor: Successor | undefined
  readonly stopped: Stopped
  readonly reloads: Requests
  readonly upgrades: Requests
}

/** Its store was given away, and who got it has failed: a gateway begins anew with what held before. */
interface Lost {
  readonly again: Config
}

async function live(config: Config, given: readonly BoundSocket[], life: Life): Promise<ExitCode | Lost> {
  // Only this command needs all of the gateway; the others start faster without.
  const { startGateway } = await import('../gateway.ts')
  const { io, readConfig, stopped } = life
  const telemetry = openTelemetry(config, io)
  if (telemetry === undefined) return EXIT.failed
  stopped.lastWords = () => telemetry.flushSync()
  try {
    const sockets = new Sockets(given)
    const { promise: succeeded, resolve: onEnd } = Promise.withResolvers<'serving' | 'lost'>()
    const upgrading = new Upgrade({ sockets, telemetry, onServing: () => onEnd('serving'), onLost: () => onEnd('lost') })
    const gateway = await startGateway(config, {
      telemetry,
      version: version(),
      network: sockets.network,
      workerSockets: sockets.workerSockets,
      startAdmin: (options) => startAdmin({ ...options, listen: sockets.listenAdmin }),
      upgrading,
      ...(readConfig !== undefined && { readConfig }),
    })
    upgrading.gateway = gateway
    for (const address of sockets.closeRest())
      telemetry.event({ type: 'warning', message: `no listener has the address ${address} any more` })
    life.successor?.serving()
    // Their outcomes are events, and stand in the status.
    life.reloads.onRequest(() => void gateway.reload())
    life.upgrades.onRequest(() => void upgrading.request())
    return await end(gateway, telemetry, await Promise.race([gateway.fatal, stopped.asked, succeeded]))
  } catch (error) {
    telemetry.flushSync()
    io.err(`spillway: ${startFailure(error, config)}\n`)
    return EXIT.failed
  } finally {
    await telemetry.close()
  }
}

/** Because it has failed, because it was asked to, or because of its successor. */
async function end(gateway: Gateway, telemetry: Telemetry, why: Error | 'stop' | 'serving' | 'lost'): Promise<ExitCode | Lost> {
  const failed = why instanceof Error ? why : await Promise.race([gateway.fatal, lastCalls(gateway, why)])
  if (failed instanceof Error) {
    telemetry.event({ type: 'fatal', message: failed.message })
    return EXIT.failed
  }
  const { config, listeners, admin } = gateway
  await gateway.close()
  if (why !== 'lost') return EXIT.ok
  // Also where the system chose the port.
  const again = { ...config, listeners: config.listeners.map((one, i) => ({ ...one, address: listeners[i] ?? one.address })) }
  return { again: { ...again, admin: { ...config.admin, address: admin } } }
}

async function lastCalls(gateway: Gateway, why: 'stop' | 'serving' | 'lost'): Promise<void> {
  if (why === 'stop') await gateway.drain()
  else if (why === 'serving') await gateway.finish()
}

interface Stopped {
  readonly asked: Promise<'stop'>
  /** Before the second request ends the process. */
  lastWords: () => void
}

function stopRequests(successor: Successor | undefined): Stopped {
  const stopped: Stopped = { asked: stopRequest([], () => stopped.lastWords(), successor === undefined), lastWords: () => undefined }
  return stopped
}

interface Requests {
  onRequest(listener: () => void): void
}

/** Such a signal ends a process that does not listen to it: from the first moment on it is heard, and one that came too early is not forgotten. */
function requests(signal: NodeJS.Signals): Requests {
  let asked = false
  let listener: (() => void) | undefined
  process.on(signal, () => {
    if (listener === undefined) asked = true
    else listener()
  })
  return {
    onRequest(act) {
      listener = act
      if (asked) act()
      asked = false
    },
  }
}

/** Undefined: the access log cannot be had, and it has been said why. Apart from the start of the gateway, whose errors have the same codes. */
function openTelemetry({ log }: Config, io: Io): OwnedTelemetry | undefined {
  try {
    return createTelemetry({ format: log.format, access: log.access, accessFormat: log.accessFormat, version: version() })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const hint = code === 'ENOENT' ? 'make its folder, or change log.access' : 'change log.access or its rights'
    io.err(`spillway: the access log ${log.access} cannot be written (${code ?? message}); ${hint}\n`)
    return undefined
  }
}

/** One line for what can go wrong at start-up, saying what to change. */
function startFailure(error: unknown, config: Config): string {
  const { code, address, port, path, message } = (error instanceof Error ? error : new Error(String(error))) as NodeJS.ErrnoException & {
    readonly address?: string
    readonly port?: number
  }
  const where = address !== undefined && port !== undefined && port >= 0 ? hostPortText({ host: address, port }) : 'an address'
  const key = address === config.admin.address.host && port === config.admin.address.port ? 'admin.address' : 'listeners'
  if (code === 'EADDRINUSE') return `${where} is in use by another process; change ${key}, or stop that process`
  if (code === 'EADDRNOTAVAIL') return `${where} is no address of this machine; change ${key}`
  if (code === 'EACCES' && address !== undefined) return `${where} needs more rights to listen on; change ${key} to a port above 1023`
  if (code !== undefined && ['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'ENOSPC', 'EEXIST'].includes(code)) {
    return `the store ${path ?? config.store.path} cannot be written (${code}); change store.path or its rights`
  }
  return (message.split('\n')[0] ?? '') || 'the gateway could not start'
}
