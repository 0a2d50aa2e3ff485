/**
 * Who is in a pool now: one value that is swapped. Who stays in it stays what it is, with all that is known of it; who comes begins unknown, and
 * slowly; who goes gets nothing new, and is gone when what runs has ended.
 */
import { isDeepStrictEqual } from 'node:util'
import type { PoolConfig } from '../config/config.ts'
import { UNKNOWN } from '../core/health/health.ts'
import { Conduct } from '../core/health/outliers.ts'
import { type Duty, memberDifference } from '../core/members/members.ts'
import type { Tally } from '../lib/tally.ts'
import type { Clock } from '../ports/clock.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { Leaving, leaveLinks, type Left } from './leaving.ts'
import { ASKS_TO_DRAIN } from './server-reports.ts'
import { learntLimit, type PoolMember, Server, type ServerState, stateOf } from './server.ts'

export interface MembershipParts {
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** As it holds now. */
  readonly config: () => PoolConfig
  readonly enter: (server: Server, to: ServerState, reason: string, cause: 'members' | 'operator') => void
  /** Nobody looks at it, or judges it, any more. */
  readonly forget: (server: Server) => void
  /** A check at once. */
  readonly look: (server: Server) => void
  /** Connections to it begin in another way from now on. */
  readonly redial: (server: Server) => void
  readonly gone: (server: Server) => void
  /** What counts its requests, where that is shared. */
  readonly tally: (server: string) => Tally | undefined
}

export class Membership {
  readonly #parts: MembershipParts
  readonly #leaving: Leaving
  readonly #listeners = new Set<() => void>()
  #servers: readonly Server[]

  /** Who is in it at first is as good as any other one. */
  constructor(parts: MembershipParts, members: readonly PoolMember[]) {
    const config = parts.config()
    this.#parts = parts
    this.#leaving = new Leaving(parts.clock, (left) => this.#left(left))
    this.#servers = members.map((member) => new Server(config, member, parts.tally(member.name)))
    for (const [i, { duty }] of members.entries()) {
      if (duty !== 'ready') Object.assign(this.#servers[i] as Server, { duty, state: 'draining', because: becauseOf(duty) })
    }
  }

  get servers(): readonly Server[] {
    return this.#servers
  }

  get leaving(): Leaving {
    return this.#leaving
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  changed(): void {
    for (const listener of this.#listeners) listener()
  }

  set(wanted: readonly PoolMember[], changed: () => void): void {
    const { added, removed, kept } = memberDifference(this.#servers, wanted)
    const came = added.map((member) => this.#admit(member))
    const byName = new Map([...kept.map(([server]) => server), ...came].map((server) => [server.name, server]))
    this.#servers = wanted.map(({ name }) => byName.get(name) as Server)
    const otherwise = kept.filter(([server, member]) => server.config.tls?.name !== member.tls?.name)
    for (const [server, member] of kept) take(server, member)
    for (const [server] of otherwise) this.#parts.redial(server)
    for (const server of removed) this.#dismiss(server)
    for (const { name, duty } of wanted) this.#setDuty(byName.get(name) as Server, duty)
    changed()
    for (const server of came) this.#parts.look(server)
  }

  #admit(member: PoolMember): Server {
    const { name, source } = member
    const config = this.#parts.config()
    const server = this.#leaving.comeBack(name) ?? new Server(config, member, this.#parts.tally(name))
    take(server, member)
    server.limit = learntLimit(config)
    // Nothing that was known of it is taken for known: nobody has looked at it meanwhile.
    Object.assign(server, {
      state: 'unknown',
      duty: 'ready',
      health: UNKNOWN,
      conduct: new Conduct(),
      pausedUntil: 0,
      wish: undefined,
      load: undefined,
      loadFactor: 1,
      cold: this.#wasUsed(),
      isNew: true,
    })
    server.because = 'it was not checked yet'
    server.lastCheck = undefined
    this.#tell({ type: 'server-added', pool: config.name, server: name, source })
    return server
  }

  /** Somebody has served: then who comes now is new. */
  #wasUsed(): boolean {
    return this.#servers.some(({ upSince }) => upSince > 0)
  }

  #dismiss(server: Server): void {
    const { name, drainTimeoutMs } = this.#parts.config()
    this.#parts.forget(server)
    this.#tell({ type: 'server-removed', pool: name, server: server.name, inFlight: server.inFlight + server.tunnels })
    if (server.state !== 'draining') this.#parts.enter(server, 'draining', 'it was taken out of the pool', 'members')
    this.#leaving.begin(server, drainTimeoutMs)
  }

  #left({ server, afterMs, cut }: Left): void {
    this.#tell({ type: 'server-left', pool: server.pool, server: server.name, afterMs, cut })
    this.#parts.gone(server)
    this.#parts.telemetry.metrics.forget({ pool: server.pool, server: server.name })
    this.changed()
  }

  #setDuty(server: Server, duty: Duty): void {
    const before = server.duty
    if (duty === before) return
    server.duty = duty
    if (duty === 'maint') this.#parts.forget(server)
    if (before === 'maint') Object.assign(server, { health: UNKNOWN, conduct: new Conduct(), cold: true })
    const reason = becauseOf(duty)
    if (duty === 'ready') this.#parts.enter(server, stateOf(server), reasonOf(server) ?? reason, 'operator')
    else if (server.state !== 'draining') this.#parts.enter(server, 'draining', reason, 'operator')
    else server.because = reason
    this.#parts.look(server)
  }

  #tell(event: Parameters<Telemetry['event']>[0]): void {
    this.#parts.telemetry.event(event)
  }
}

/** Its last check says more than that somebody wants it, and so does what it asks for. */
function reasonOf({ health, lastCheck, wish }: Server): string | undefined {
  if (wish !== undefined) return ASKS_TO_DRAIN
  return health.state === 'down' && lastCheck?.result.kind === 'failed' ? lastCheck.result.reason : undefined
}

function becauseOf(duty: Duty): string {
  return `an operator set it to ${duty}`
}

function take(server: Server, member: PoolMember): void {
  if (!isDeepStrictEqual(server.config.tls, member.tls)) leaveLinks(server)
  server.config = member
  server.configuredWeight = member.weight
  server.source = member.source
}
