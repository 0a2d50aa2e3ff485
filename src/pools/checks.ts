/** When each server of a pool is checked: all along, sooner where its state is in doubt, at once when a connection to it broke. */
import type { HealthConfig } from '../config/config.ts'
import { nextProbeMs, type ProbeResult } from '../core/health/health.ts'
import type { Dialling } from '../net/dialling.ts'
import { probe, type ProbePorts } from '../net/probe.ts'
import type { Millis } from '../lib/units.ts'
import type { Random, Timer } from '../ports/clock.ts'
import type { Server } from './server.ts'

interface Check {
  running: boolean
  timer: Timer | undefined
}

export interface CheckPorts extends ProbePorts {
  readonly random: Random
  readonly dialling: Dialling
}

export class Checks {
  #config: HealthConfig
  readonly #ports: CheckPorts
  readonly #told: (server: Server, result: ProbeResult, tookMs: Millis) => void
  readonly #checks = new Map<Server, Check>()
  #closed = false

  constructor(config: HealthConfig, ports: CheckPorts, told: (server: Server, result: ProbeResult, tookMs: Millis) => void) {
    this.#config = config
    this.#ports = ports
    this.#told = told
  }

  /** Holds from now on, and everybody is looked at by it. */
  reconfigure(config: HealthConfig): void {
    this.#config = config
    for (const server of this.#checks.keys()) this.now(server)
  }

  /** Nobody asks after it any more. */
  forget(server: Server): void {
    this.#checks.get(server)?.timer?.cancel()
    this.#checks.delete(server)
  }

  /** Unless one is under way. */
  now(server: Server): void {
    const check = this.#of(server)
    if (check.running || this.#closed) return
    check.running = true
    check.timer?.cancel()
    const { path, timeoutMs } = this.#config
    const { host, port, hostName } = server.config
    const opening = this.#ports.dialling.opening(server.config)
    const target = { host, port, timeoutMs, opening, ...(path !== undefined && { path }), ...(hostName !== undefined && { hostName }) }
    const begunAt = this.#ports.clock.monotonic()
    void probe(target, this.#ports).then((result) => {
      check.running = false
      if (this.#closed || this.#checks.get(server) !== check) return
      this.#told(server, result, this.#ports.clock.monotonic() - begunAt)
      this.later(server)
    })
  }

  /** As its health asks for. */
  later(server: Server): void {
    const check = this.#checks.get(server)
    check?.timer?.cancel()
    if (check === undefined || this.#closed || check.running) return
    const delay = nextProbeMs(server.health, this.#config.intervalMs, this.#ports.random.unit())
    check.timer = this.#ports.clock.after(delay, () => this.now(server))
  }

  close(): void {
    this.#closed = true
    for (const { timer } of this.#checks.values()) timer?.cancel()
  }

  #of(server: Server): Check {
    let check = this.#checks.get(server)
    if (check === undefined) this.#checks.set(server, (check = { running: false, timer: undefined }))
    return check
  }
}
