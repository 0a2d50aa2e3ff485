/** Watches how the requests of a pool's servers end, and takes out those that fail theirs, for a while. The rules are in `core/health/outliers.ts`. */
import { beginProbation, eject, judgeWindow, mayEject, observe, type OutlierRules } from '../core/health/outliers.ts'
import type { Millis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { Server } from './server.ts'

export interface JudgeParts {
  readonly rules: OutlierRules
  /** The members of now. */
  readonly servers: () => readonly Server[]
  readonly clock: Clock
  readonly ejected: (server: Server, reason: string, forMs: Millis) => void
  /** Its time is over: it is tried again. */
  readonly onProbation: (server: Server) => void
  /** It is one of them again. */
  readonly acquitted: (server: Server) => void
}

export interface JudgedPool {
  readonly pool: string
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly servers: () => readonly Server[]
  readonly enter: (server: Server, to: 'up' | 'ejected', reason: string) => void
  readonly acquitted: (server: Server) => void
}

/** The judge of a pool, who tells what happens. */
export function createJudge(rules: OutlierRules, { pool, clock, telemetry, servers, enter, acquitted }: JudgedPool): Judge {
  const { help } = METRICS.spillway_ejections_total
  return new Judge({
    ...{ rules, servers, clock, acquitted },
    ejected: (server, reason, forMs) => {
      telemetry.metrics.counter('spillway_ejections_total', help, { pool, server: server.name }).inc()
      telemetry.event({ type: 'server-ejected', pool, server: server.name, reason, forMs })
      if (server.state === 'up') enter(server, 'ejected', reason)
    },
    onProbation: (server) => {
      if (server.state !== 'ejected') return
      telemetry.event({ type: 'server-on-probation', pool, server: server.name })
      enter(server, 'up', 'on probation')
    },
  })
}

export class Judge {
  readonly #parts: JudgeParts
  #rules: OutlierRules
  readonly #out = new Map<Server, Timer>()
  #window: Timer | undefined
  #closed = false

  constructor(parts: JudgeParts) {
    this.#parts = parts
    this.#rules = parts.rules
  }

  /** Holds from now on; who is out stays out for as long as was said. */
  reconfigure(rules: OutlierRules): void {
    this.#rules = rules
  }

  /** It is no member any more, or begins anew. */
  forget(server: Server): void {
    this.#out.get(server)?.cancel()
    this.#out.delete(server)
  }

  /** A request to it has ended well, or not. */
  observe(server: Server, ok: boolean): void {
    if (this.#closed) return
    const { conduct } = server
    const was = conduct.standing
    const reason = observe(conduct, ok, this.#rules)
    // Who was out already takes nobody's place.
    if (reason !== undefined && (was === 'probation' || this.#mayEject(server))) this.#eject(server, reason)
    else if (was === 'probation' && conduct.standing === 'good') this.#parts.acquitted(server)
    this.#window ??= this.#parts.clock.after(this.#rules.windowMs, () => this.#windowOver())
  }

  close(): void {
    this.#closed = true
    this.#window?.cancel()
    for (const timer of this.#out.values()) timer.cancel()
  }

  #windowOver(): void {
    const servers = this.#parts.servers()
    this.#window = undefined
    const now = this.#parts.clock.monotonic()
    const judged = servers.map(({ conduct, latency }) => ({ conduct, latencyMs: latency.known ? latency.ms(now) : undefined }))
    for (const [i, reason] of judgeWindow(judged, this.#rules).entries()) {
      const server = servers[i] as Server
      if (reason !== undefined && this.#mayEject(server)) this.#eject(server, reason)
    }
  }

  /** A server that is down, or not wanted, is out as well. Backups are compared among themselves: they are no reason to take out the last primary. */
  #mayEject({ backup }: Server): boolean {
    const inUse = this.#parts
      .servers()
      .filter((server) => server.health.state === 'up' && server.duty === 'ready' && server.wish === undefined && server.backup === backup)
    return mayEject(
      inUse.map(({ conduct }) => conduct),
      this.#rules,
    )
  }

  #eject(server: Server, reason: string): void {
    const { clock } = this.#parts
    const forMs = eject(server.conduct, reason, clock.monotonic(), this.#rules)
    this.#out.get(server)?.cancel()
    this.#out.set(
      server,
      clock.after(forMs, () => {
        this.#out.delete(server)
        // It may have been down meanwhile, and come back as another one.
        if (server.conduct.standing !== 'ejected') return
        beginProbation(server.conduct)
        this.#parts.onProbation(server)
      }),
    )
    this.#parts.ejected(server, reason, forMs)
  }
}
