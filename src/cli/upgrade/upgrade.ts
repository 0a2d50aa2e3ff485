/**
 * Another program takes over from this process while it runs: the same command is started once more, with whatever stands on the disk by now,
 * and with our sockets. When it has read its configuration, jobs that run may end, then it gets the store, and nobody who connects is refused
 * in between. Until it has the store, whatever goes wrong leaves this process as it was.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { UpgradeOutcome, Upgrading } from '../../admin/upgrading.ts'
import type { Gateway } from '../../gateway-options.ts'
import type { Millis } from '../../lib/units.ts'
import type { Telemetry } from '../../telemetry/telemetry.ts'
import type { BoundSocket, Sockets } from './sockets.ts'
import { SUCCESSOR_VARIABLE, type UpgradeMessage } from './successor.ts'

export interface UpgradeParts {
  readonly sockets: Sockets
  readonly telemetry: Telemetry
  /** It serves: this process may end. */
  readonly onServing: () => void
  /** It had the store, and failed: this process must begin anew. */
  readonly onLost: (reason: string) => void
}

/** To start and to read its configuration. */
const PREPARED_MS: Millis = 30_000
/** To open the store, which may be a large one after a crash. */
const SERVING_MS: Millis = 300_000
/** Behind standard input, output and errors, and the channel. */
const FIRST_FD = 4

export class Upgrade implements Upgrading {
  /** Set when it runs. */
  gateway: Gateway | undefined
  readonly #parts: UpgradeParts
  #current: Promise<UpgradeOutcome> | undefined
  #successor: number | undefined

  constructor(parts: UpgradeParts) {
    this.#parts = parts
  }

  get successor(): number | undefined {
    return this.#successor
  }

  /** One at a time; who asks while one is under way hears of that one. */
  request(): Promise<UpgradeOutcome> {
    this.#current ??= this.#begin()
    return this.#current
  }

  async #begin(): Promise<UpgradeOutcome> {
    const { gateway } = this
    if (gateway === undefined) return this.#failed('it has not started yet')
    // Whoever has started us would take our end for the end of the gateway.
    if (process.connected) return this.#failed('it was started by another process that ends it with itself: end and start that one')
    const sockets = this.#parts.sockets.bound
    const successor = start(sockets)
    const { telemetry } = this.#parts
    if (successor.pid === undefined) return this.#failed(await startFailure(successor))
    telemetry.event({ type: 'upgrade-began', pid: successor.pid })
    const wrong = await said(successor, 'prepared', PREPARED_MS)
    if (wrong !== undefined) return this.#failed(wrong)
    this.#successor = successor.pid
    void this.#handOver(gateway, successor)
    return { kind: 'begun', pid: successor.pid }
  }

  async #handOver(gateway: Gateway, successor: ChildProcess): Promise<void> {
    const { telemetry, onServing, onLost } = this.#parts
    const pid = successor.pid ?? 0
    await gateway.rest()
    if (!hasEnded(successor)) await gateway.giveUp()
    successor.send('go' satisfies UpgradeMessage, () => undefined)
    const wrong = await said(successor, 'serving', SERVING_MS)
    if (wrong === undefined) {
      telemetry.event({ type: 'upgraded', pid })
      successor.unref()
      return onServing()
    }
    telemetry.event({ type: 'upgrade-failed', reason: wrong })
    onLost(wrong)
  }

  #failed(reason: string): UpgradeOutcome {
    this.#current = undefined
    this.#parts.telemetry.event({ type: 'upgrade-failed', reason })
    return { kind: 'refused', reason }
  }
}

function start(sockets: readonly BoundSocket[]): ChildProcess {
  const given = sockets.map(({ address }, i) => ({ address, fd: FIRST_FD + i }))
  return spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    env: { ...process.env, [SUCCESSOR_VARIABLE]: JSON.stringify(given) },
    stdio: ['inherit', 'inherit', 'inherit', 'ipc', ...sockets.map(({ fd }) => fd)],
  })
}

function startFailure(successor: ChildProcess): Promise<string> {
  return new Promise((resolve) => successor.once('error', (error) => resolve(`it cannot be started: ${error.message}`)))
}

/** Undefined: it has said so. Else why it will not; it has ended then. */
async function said(successor: ChildProcess, wanted: UpgradeMessage, withinMs: Millis): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const onMessage = (message: unknown): void => void (message === wanted && resolve(undefined))
  const onExit = (): void => resolve(endText(successor))
  const timer = setTimeout(() => {
    successor.kill('SIGKILL')
    resolve(`it was not ${wanted} within ${withinMs / 1000} s`)
  }, withinMs)
  successor.on('message', onMessage)
  successor.once('exit', onExit)
  if (hasEnded(successor)) onExit()
  const wrong = await promise
  clearTimeout(timer)
  successor.off('message', onMessage)
  successor.off('exit', onExit)
  return wrong
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null
}

function endText({ pid, exitCode, signalCode }: ChildProcess): string {
  return `pid ${pid} ended with ${signalCode ?? `exit code ${exitCode}`} before it served; what it printed says why`
}
