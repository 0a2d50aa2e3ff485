/** When each server of a pool is checked: all along, sooner where its state is in doubt, at once when a connection to it broke. */
import type { ServerConfig } from '../config/config.ts'
import type { HealthConfig } from '../config/config-health.ts'
import { nextProbeMs, type ProbeResult } from '../core/health/health.ts'
import type { Dialling } from '../net/dialling.ts'
import type { ProbePorts, ProbeTarget } from '../net/probe.ts'
import type { Millis } from '../lib/units.ts'
import type { Random } from '../ports/clock.ts'
import { Probers, type Watching } from './probers.ts'
import type { Server } from './server.ts'

export interface CheckPorts extends ProbePorts {
  readonly random: Random
  readonly dialling: Dialling
  /** Shared with other pools. */
  readonly probers?: Probers
}

export class Checks {
  #config: HealthConfig
  readonly #random: Random
  readonly #dialling: Dialling
  readonly #probers: Probers
  readonly #told: (server: Server, result: ProbeResult, tookMs: Millis) => void
  readonly #checks = new Map<Server, Watching>()
  #closed = false

  constructor(config: HealthConfig, ports: CheckPorts, told: (server: Server, result: ProbeResult, tookMs: Millis) => void) {
    this.#config = config
    this.#random = ports.random
    this.#dialling = ports.dialling
    this.#probers = ports.probers ?? new Probers(ports)
    this.#told = told
  }

  /** Holds from now on, and everybody is looked at by it. */
  reconfigure(config: HealthConfig): void {
    this.#config = config
    for (const server of [...this.#checks.keys()]) {
      this.forget(server)
      this.now(server)
    }
  }

  /** Nobody asks after it any more. */
  forget(server: Server): void {
    this.#checks.get(server)?.end()
    this.#checks.delete(server)
  }

  /** Unless one is under way. */
  now(server: Server): void {
    if (!this.#closed) this.#of(server).now()
  }

  /** As its health asks for. */
  later(server: Server): void {
    this.#checks.get(server)?.later()
  }

  close(): void {
    this.#closed = true
    for (const server of [...this.#checks.keys()]) this.forget(server)
  }

  #of(server: Server): Watching {
    let check = this.#checks.get(server)
    if (check === undefined) {
      check = this.#probers.watch(checkTarget(server.config, this.#config), {
        opening: () => this.#dialling.opening(server.config),
        nextMs: () => nextProbeMs(server.health, this.#config, this.#random.unit()),
        told: (result, tookMs) => this.#told(server, result, tookMs),
      })
      this.#checks.set(server, check)
    }
    return check
  }
}

/** What is asked of a server. */
export function checkTarget(server: ServerConfig, health: HealthConfig): ProbeTarget {
  const { path, method, headers, status, body, timeoutMs } = health
  const { host, hostName } = server
  return {
    ...{ host, port: health.port ?? server.port, timeoutMs },
    ...(hostName !== undefined && { hostName }),
    ...(path !== undefined && { path }),
    ...(method !== undefined && { method }),
    ...(headers !== undefined && { headers }),
    ...(status !== undefined && { status }),
    ...(body !== undefined && { body }),
  }
}
