/**
 * Servers that do the same work: who may be used, who has a free slot, who waits for one. Requests that find none wait in one bounded line
 * for the whole pool, and are bound to a server only when a slot is theirs: no request waits behind a busy server while another is idle.
 */
import { tierInUse } from '../core/balancing/tiers.ts'
import { pickFewestTunnels } from '../core/balancing/turns.ts'
import { type Balancer, type Choice, createBalancer } from '../core/balancing/balancer.ts'
import { type Hope, hopeAmong, isHope, mostAreDown } from '../core/health/last-hope.ts'
import { afterConnectFailure, afterProbe, type ProbeResult } from '../core/health/health.ts'
import { Conduct, type OutlierRules } from '../core/health/outliers.ts'
import { isDeepStrictEqual } from 'node:util'
import type { PoolConfig } from '../config/config.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import { METRICS } from '../telemetry/names.ts'
import { Dialling } from '../net/dialling.ts'
import { Checks } from './checks.ts'
import { createJudge, type Judge } from './judge.ts'
import { cutLinks, leaveLinks } from './leaving.ts'
import { Line, type Wait, type Waiter } from './line.ts'
import { WaitCounters } from './wait-counters.ts'
import { follow } from './followed.ts'
import { JobSlots } from './job-slots.ts'
import { LiveTraffic } from './live-traffic.ts'
import { Membership, type MembershipParts } from './membership.ts'
import type { Followed, LineSigns, PoolChange, PoolPorts, SlotSeeker, Wanted } from './pool-types.ts'
import { Rests } from './rests.ts'
import { ServerMeter } from './server-meter.ts'
import { ServerReports } from './server-reports.ts'
import { asInFile, learntLimit, type PoolMember, type Server, type ServerState, stateOf } from './server.ts'
import { SecondTries } from './second-tries.ts'
import { setShares } from './shares.ts'
import { Shortage } from './shortage.ts'

export class Pool {
  readonly name: string
  #config: PoolConfig
  readonly #membership: Membership
  readonly #ports: PoolPorts
  /** How connections to its servers begin. */
  readonly dialling: Dialling
  /** What its requests meet. */
  readonly live: LiveTraffic = new LiveTraffic()
  readonly retries: SecondTries
  #balancer: Balancer<Server>
  /** Some server starts slowly. */
  #ramping = false
  readonly #line: Line
  readonly #waits: WaitCounters
  /** To the other threads that send to its servers. */
  readonly #signs: LineSigns | undefined
  readonly #checks: Checks
  #judge: Judge | undefined
  readonly #reports: ServerReports
  readonly #changeListeners = new Set<(change: PoolChange) => void>()
  readonly #jobs: JobSlots
  /** No server is up, and some could be used all the same: then nobody's opinion counts. */
  #hope: Hope | undefined
  readonly #rests: Rests
  readonly #shortage: Shortage
  /** The names of its servers are being looked up for the first time: nobody knows yet who is in it. */
  isAwaited = false
  #started = false

  constructor(config: PoolConfig, ports: PoolPorts, members: readonly PoolMember[] = config.servers.map(asInFile)) {
    this.name = config.name
    this.#config = config
    this.#ports = ports
    this.dialling = new Dialling(config, ports)
    this.#shortage = new Shortage(config.name, ports)
    this.#membership = this.#createMembership(members)
    this.retries = new SecondTries({ ...ports, pool: config.name, rule: config.retries, mostlyBusy: () => this.#mostlyBusy() })
    const signs = ports.shared?.signs(config.name)
    this.#signs = signs
    const waits = new WaitCounters(config.name, ports.telemetry, signs)
    this.#waits = waits
    this.#jobs = new JobSlots({ clock: ports.clock, live: this.live, signs, config: () => this.#config })
    this.#line = new Line(ports.clock, config.queueing, waits)
    this.#checks = new Checks(config.health, { ...ports, dialling: this.dialling }, (server, result, tookMs) =>
      this.#checked(server, result, tookMs),
    )
    this.#judge = config.outliers === undefined ? undefined : this.#createJudge(config.outliers)
    this.#rests = new Rests({ clock: ports.clock, servers: () => this.servers, rested: (server) => this.#offer(server) })
    this.#reports = this.#createReports()
    this.#balancer = this.#createBalancer()
  }

  /** Begins to check the servers. */
  start(): void {
    this.#started = true
    for (const server of this.servers) this.#look(server)
  }

  close(): void {
    this.#checks.close()
    this.#judge?.close()
    this.#reports.close()
    this.#rests.close()
    this.#membership.leaving.close()
    this.#line.close()
    this.dialling.close()
  }

  /** What holds now: a reload changes it. */
  get config(): PoolConfig {
    return this.#config
  }

  /** Its members now, usable or not. */
  get servers(): readonly Server[] {
    return this.#membership.servers
  }

  /** No members any more, but what they have to do has not ended. */
  get leaving(): readonly Server[] {
    return [...this.#membership.leaving.servers]
  }

  get waiting(): number {
    return this.#line.size
  }

  /** Requests have waited too long for a while: the newest goes first. */
  get lineStands(): boolean {
    return this.#line.stands
  }

  meterOf(server: Server): ServerMeter {
    return (server.meter ??= new ServerMeter(this.#ports.telemetry.metrics, server))
  }

  upServers(): readonly Server[] {
    return this.servers.filter((server) => server.state === 'up')
  }

  /** Up, and not resting. */
  usableServers(): readonly Server[] {
    return this.servers.filter((server) => server.state === 'up' && !this.#rests.has(server))
  }

  /** Those that get something now: the ones that are up; backups only where no other one is. */
  inUse(): readonly Server[] {
    return tierInUse(this.upServers())
  }

  /** Checked, and none of them is good. */
  get isLost(): boolean {
    if (this.isAwaited) return false
    return this.servers.every(({ state }) => state === 'down' || state === 'ejected' || state === 'draining')
  }

  /** Nothing is in flight, and nobody waits. */
  get isIdle(): boolean {
    return this.#line.size === 0 && [...this.servers, ...this.leaving].every(({ inFlight, tunnels }) => inFlight === 0 && tunnels === 0)
  }

  /** The panic rule's question: do more than half of the servers look bad? */
  majorityDown(): boolean {
    return mostAreDown(this.servers)
  }

  /** For jobs: these wait where no server is good enough. */
  freeSlots(server: Server): number {
    return server.state === 'up' ? this.#slotsOf(server) : 0
  }

  #slotsOf(server: Server): number {
    if (this.#rests.has(server)) return 0
    if (this.#ramping) this.#ramp(this.#ports.clock.monotonic())
    return Math.max(0, server.slots - server.inFlight)
  }

  /** A slot for a job. */
  reserve(server: Server): boolean {
    return this.#jobs.take(server, () => this.freeSlots(server))
  }

  /** The slot of a job is free again. */
  releaseJob(server: Server): void {
    this.#jobs.ended(server)
    this.release(server)
  }

  /** More than half of the servers in use take nothing more now. */
  #mostlyBusy(): boolean {
    const up = this.inUse()
    return up.filter((server) => this.freeSlots(server) === 0).length * 2 > up.length
  }

  /** Chooses a server with a free slot and takes the slot. */
  acquire({ excluded, keyHash, isSpillable = false }: Wanted = {}): Server | undefined {
    const now = this.#ports.clock.monotonic()
    if (this.#ramping) this.#ramp(now)
    this.live.came++
    let up = false
    let primaries = false
    let backups = false
    const candidates: Server[] = []
    for (const server of this.servers) {
      if (server.state === 'up') up = true
      else if (isSpillable || !this.#isLastHope(server)) continue
      if (excluded?.has(server) === true) continue
      if (server.backup) backups = true
      else primaries = true
      if (server.inFlight < server.slots && !this.#rests.has(server)) candidates.push(server)
    }
    const chosen = this.#take(primaries && backups ? candidates.filter(({ backup }) => !backup) : candidates, { now, keyHash })
    if (chosen === undefined && up && excluded === undefined) this.live.waited++
    return chosen
  }

  /** Of the one that balancing says; where another thread takes its last slot at this moment, of the next. */
  #take(candidates: readonly Server[], choice: Choice): Server | undefined {
    const chosen = this.#balancer.pick(candidates, choice)
    if (chosen === undefined || chosen.taken.take(chosen.slots)) return chosen
    return this.#take(
      candidates.filter((other) => other !== chosen),
      choice,
    )
  }

  /** A slot of this very server, for who was there before. False: it has none free. Undefined: it is not to be used. */
  acquireFrom(server: Server): boolean | undefined {
    if (!server.keepsSessions && !this.inUse().includes(server)) return undefined
    this.live.came++
    if (this.#slotsOf(server) === 0) return false
    return server.taken.take(server.slots)
  }

  #isUsable(server: Server): boolean {
    return server.state === 'up' || this.#isLastHope(server)
  }

  /** It looks bad, as all of them do: what has nowhere else to go is sent there. */
  #isLastHope(server: Server): boolean {
    return isHope(server, this.#hope)
  }

  /** Servers that came back have a share of their weight and slots that grows. */
  #ramp(now: MonotonicMillis): void {
    this.#ramping = setShares(this.servers, this.#config, now)
  }

  /** Chooses the server with the fewest tunnels and takes a place for one more. A tunnel cannot wait: where none is good it goes where there is hope. */
  acquireTunnel(excluded?: ReadonlySet<Server>, bound?: Server): Server | undefined {
    const usable = this.#hope !== undefined ? this.servers.filter((each) => this.#isLastHope(each)) : this.inUse()
    const free = usable.filter((server) => server.tunnels < this.config.maxTunnels && excluded?.has(server) !== true)
    const chosen = bound !== undefined && free.includes(bound) ? bound : pickFewestTunnels(free)
    if (chosen !== undefined) chosen.tunnels++
    return chosen
  }

  releaseTunnel(server: Server): void {
    server.tunnels--
    if (server.leaving) this.#membership.leaving.lookAt(server)
  }

  /** Gets in line. The returned function leaves it; a word says why it could not: the line is full, or too full for its priority. */
  wait(waiter: Waiter, wait: Wait): (() => void) | 'full' | 'shed' {
    const { maxWaiting } = this.config
    if (wait.fillMax !== undefined && this.#line.size >= wait.fillMax * maxWaiting && this.#line.size < maxWaiting)
      return this.#waits.count('shed')
    if (this.#line.size < maxWaiting || (maxWaiting > 0 && this.#line.makeRoom(wait.priority))) return this.#line.join(waiter, wait)
    this.#ports.telemetry.event({ type: 'limit-reached', limit: 'maxWaiting', where: this.name, value: maxWaiting })
    return this.#waits.count('full')
  }

  release(server: Server): void {
    server.taken.give()
    if (server.leaving) this.#membership.leaving.lookAt(server)
    else this.#offer(server)
  }

  /** It began to answer a live request that was sent at that moment. */
  answered(server: Server, sentAt: MonotonicMillis): void {
    const now = this.#ports.clock.monotonic()
    this.live.took(now - sentAt)
    server.meter?.firstByte.observe((now - sentAt) / 1000)
    server.latency.observe(now - sentAt, now)
    if (server.limit?.answered(now - sentAt, server.inFlight, now) !== true) return
    this.#ramp(now)
    this.#offer(server)
  }

  /** It said "not now": its share rests; requests in flight go on. */
  pause(server: Server, forMs: Millis): void {
    this.live.refused++
    this.#rests.begin(server, forMs)
  }

  onChange(listener: (change: PoolChange) => void): () => void {
    this.#changeListeners.add(listener)
    return () => void this.#changeListeners.delete(listener)
  }

  /** Servers came or went, or their weights or anything else of its configuration changed. */
  onMembers(listener: () => void): () => void {
    return this.#membership.onChange(listener)
  }

  onSlotFree(seeker: SlotSeeker): () => void {
    return this.#jobs.onSlotFree(seeker)
  }

  // --- what live requests met

  /** A connection was refused or timed out: nothing can be sent there. */
  connectFailed(server: Server, reason: string): void {
    const before = server.health.state
    server.health = afterConnectFailure(server.health)
    server.refused = true
    if (this.#reports.lost(server, reason)) return this.#checks.later(server)
    if (server.state === 'draining') return this.#endSessions(server)
    if (before !== server.health.state) this.#become(server, 'down', reason, 'connection')
    else this.#lookForPanic()
    this.#checks.later(server)
  }

  /** The gateway itself lacked what a connection takes: no server is judged by that. */
  connectLacked(errno: string): void {
    this.#shortage.met(errno)
  }

  /** A connection broke while it was in use: look now instead of at the next interval. */
  connectionBroke(server: Server): void {
    this.#look(server)
  }

  /** A request met a kept connection that it had just closed. That says nothing about it, or that it is gone. */
  wasStale(server: Server): void {
    const { help } = METRICS.spillway_stale_connections_total
    this.#ports.telemetry.metrics.counter('spillway_stale_connections_total', help, { pool: this.name, server: server.name }).inc()
    this.#look(server)
  }

  /** What an answer said of its server. */
  heard(server: Server, headers: readonly string[]): void {
    this.#reports.answered(server, headers)
  }

  /** A request or an attempt that reached the server has ended: by an answer that is its own, or not. */
  observe(server: Server, ok: boolean): void {
    if (!server.leaving) this.#judge?.observe(server, ok)
  }

  // --- members

  /**
   * From now on these are its servers. Who is one already stays what it is, with what it has in flight and all that is known of it; who is one no
   * more gets nothing new, and is gone when what runs has ended.
   */
  setMembers(wanted: readonly PoolMember[]): void {
    this.#membership.set(wanted, () => this.#membersChanged())
  }

  /** Holds at once, for whoever is in flight as well. The servers are set by themselves. */
  reconfigure(config: PoolConfig): void {
    const before = this.#config
    this.#config = config
    const changed = (key: keyof PoolConfig): boolean => !isDeepStrictEqual(before[key], config[key])
    if (changed('retries')) this.retries.goBy(config.retries)
    if (changed('queueing')) this.#line.reconfigure(config.queueing)
    if (changed('serverReports')) this.#reports.reconfigure(config.serverReports)
    if (changed('outliers')) this.#rejudge(config.outliers)
    const dialsAnew = this.dialling.configure(config)
    if (dialsAnew) this.servers.forEach(leaveLinks)
    if (dialsAnew || changed('health')) this.#checks.reconfigure(config.health)
    if (changed('maxInFlight') || changed('adaptiveMin')) for (const server of this.servers) server.limit = learntLimit(config)
    this.#membersChanged()
  }

  /** Whatever is in flight, and whoever waits, is broken off. */
  cutAll(detail: string): void {
    for (const server of [...this.servers, ...this.#membership.leaving.servers]) cutLinks(server, detail)
    this.#line.expireAll()
  }

  /** By when a server that leaves is gone. */
  leavesUntil(server: Server): MonotonicMillis | undefined {
    return this.#membership.leaving.untilOf(server)
  }

  #createMembership(members: readonly PoolMember[]): Membership {
    const parts: MembershipParts = {
      ...this.#ports,
      config: () => this.#config,
      enter: (server, to, reason, cause) => this.#enter(server, to, reason, cause),
      forget: (server) => {
        this.#checks.forget(server)
        this.#judge?.forget(server)
        this.#reports.forget(server)
        this.#line.expireAll(server)
      },
      look: (server) => this.#look(server),
      redial: (server) => {
        leaveLinks(server)
        this.#checks.forget(server)
        this.#look(server)
      },
      tally: (server) => this.#ports.shared?.tally(this.name, server),
      gone: (server) => {
        this.dialling.forget(server.name)
        this.#ports.shared?.forget(this.name, server.name)
      },
    }
    return new Membership(parts, members)
  }

  /** A check at once, unless nobody wants to know. */
  #look(server: Server): void {
    if (!this.#started || server.leaving || server.duty === 'maint') return
    if (this.config.health.isUpAtFirst === true && server.health.state === 'unknown') {
      server.health = { state: 'up', against: 0 }
      if (server.state === 'unknown') this.#become(server, 'up', 'it counts as up until its first check', 'check')
    }
    this.#checks.now(server)
  }

  #membersChanged(): void {
    this.#balancer = this.#createBalancer()
    this.#ramp(this.#ports.clock.monotonic())
    this.#lookForPanic()
    this.#membership.changed()
    for (const server of this.servers) this.#offer(server)
  }

  #createBalancer(): Balancer<Server> {
    return createBalancer(this.config.balance, this.servers, () => this.#ports.random.unit())
  }

  /** Without rules nobody is out, or on probation. */
  #rejudge(rules: OutlierRules | undefined): void {
    if (rules !== undefined) {
      if (this.#judge === undefined) this.#judge = this.#createJudge(rules)
      else this.#judge.reconfigure(rules)
      return
    }
    this.#judge?.close()
    this.#judge = undefined
    for (const server of this.servers) {
      server.conduct = new Conduct()
      if (server.state === 'ejected') this.#enter(server, 'up', 'nobody is ejected any more', 'conduct')
    }
  }

  // --- other threads

  /** What one of them, which looks at the servers, has found out. */
  follow(seen: readonly Followed[]): void {
    const now = this.#ports.clock.monotonic()
    follow(this.servers, seen, { now, enter: (server, to, because) => this.#enter(server, to, because, 'members') })
    this.#ramp(now)
    this.#lookForPanic()
    this.#rests.arm()
  }

  /** They have given slots back. */
  slotsFreed(): void {
    this.#signs?.looks()
    this.serveWaiting()
    // Where none is free, too: a job that finds none wants to be told of the next one.
    for (const server of this.servers) this.#jobs.offer(server)
  }

  /** Nobody who waits is passed. */
  serveWaiting(): void {
    for (const server of this.#line.size > 0 ? this.servers : []) this.#serveLine(server)
  }

  /** Something may have ended there of what the leaving ones had to do. */
  lookAtLeaving(): void {
    for (const server of this.leaving) this.#membership.leaving.lookAt(server)
  }

  // --- the line

  /** Slots that became free go to who waits, and only then to jobs, unless these wait for ever. */
  #offer(server: Server): void {
    this.#serveLine(server)
    if (this.freeSlots(server) > 0) this.#jobs.offer(server)
  }

  #serveLine(server: Server): void {
    if (this.#line.size === 0) return
    const kept = this.#jobs.isTurn(server) ? 1 : 0
    const boundOnly = !this.#isUsable(server)
    if (boundOnly && !server.keepsSessions) return
    const before = server.backup ? this.servers.filter((other) => !other.backup && this.#isUsable(other)) : []
    while (this.#slotsOf(server) > kept) {
      if (!server.taken.take(server.slots)) return
      const waiter = this.#line.next(server, before, boundOnly)
      if (waiter === undefined) return server.taken.give()
      waiter.grant(server)
    }
  }

  // --- what is thought of servers

  #createJudge(rules: OutlierRules): Judge {
    return createJudge(rules, {
      ...this.#ports,
      pool: this.name,
      servers: () => this.servers,
      enter: (server, to, reason) => this.#enter(server, to, reason, 'conduct'),
      acquitted: (server) => this.#beginUp(server, true),
    })
  }

  #createReports(): ServerReports {
    return new ServerReports(this.config.serverReports, {
      ...this.#ports,
      pool: this.name,
      servers: () => this.servers,
      meterOf: (server) => this.meterOf(server),
      drain: (server, reason) => this.#enter(server, 'draining', reason, 'reports'),
      wishOver: (server, reason) => this.#backFromDrain(server, reason),
      share: (now) => this.#ramp(now),
    })
  }

  #backFromDrain(server: Server, reason: string): void {
    const to = stateOf(server)
    if (to === 'down') this.#become(server, to, reason, 'check')
    else this.#enter(server, to, reason, 'reports')
  }

  #checked(server: Server, result: ProbeResult, tookMs: Millis): void {
    server.lastCheck = { at: this.#ports.clock.now(), tookMs, result }
    if (result.kind === 'unasked') return this.connectLacked(result.errno)
    this.meterOf(server).checked(result.kind === 'passed')
    const before = server.health.state
    server.health = afterProbe(server.health, result, this.config.health)
    // A check that only connects has nothing but that to say.
    server.refused = result.kind === 'failed' && (result.refused || this.config.health.path === undefined)
    if (this.#reports.checked(server, { result, tookMs, isHttp: this.config.health.path !== undefined })) return
    if (server.state === 'draining') return this.#endSessions(server)
    if (server.health.state === before) return this.#lookForPanic()
    if (server.health.state === 'up') this.#become(server, 'up', 'check passed', 'check')
    else this.#become(server, 'down', result.kind === 'failed' ? result.reason : '', 'check')
  }

  /** Who was there before waits no longer, unless it is drained and may be waited for. */
  #endSessions(server: Server): void {
    if (!server.keepsSessions) this.#line.expireAll(server)
  }

  /** Its checks say so. */
  #become(server: Server, to: 'up' | 'down', reason: string, cause: PoolChange['cause']): void {
    const downForMs = server.state === 'down' ? this.#ports.clock.monotonic() - server.downSince : undefined
    const event = { pool: this.name, server: server.name, reason }
    if (to === 'down') this.#ports.telemetry.event({ type: 'server-down', ...event })
    else this.#ports.telemetry.event(downForMs === undefined ? { type: 'server-up', ...event } : { type: 'server-up', ...event, downForMs })
    // Whatever it did before, this is another one, or it has been mended.
    if (to === 'up' && downForMs !== undefined) server.conduct = new Conduct()
    this.#enter(server, to, reason, cause)
  }

  #enter(server: Server, to: ServerState, reason: string, cause: PoolChange['cause']): void {
    const wasOut = server.state !== 'unknown' || server.cold
    server.state = to
    server.because = reason
    server.stateSince = this.#ports.clock.now()
    if (to === 'up') this.#beginUp(server, wasOut)
    else {
      if (to !== 'unknown') server.isNew = false
      server.downSince = this.#ports.clock.monotonic()
      server.downReason = reason
    }
    this.#lookForPanic()
    for (const listener of this.#changeListeners) listener({ server, to: to === 'up' ? 'up' : 'down', reason, cause })
    this.#offer(server)
    if (to !== 'up') this.#endSessions(server)
    // Another pool stands in: whoever waits here goes there.
    if (this.config.failover !== undefined && this.isLost) this.#line.sendElsewhere()
    // Who waits for a primary has none any more.
    if (to !== 'up' && !server.backup) for (const other of this.servers) if (other.backup) this.#offer(other)
  }

  #beginUp(server: Server, returned: boolean): void {
    server.returned = returned
    server.cold = false
    server.upSince = this.#ports.clock.monotonic()
    // What said so is no more.
    server.pausedUntil = 0
    // What it took before says nothing about what came back.
    server.latency.forget()
    this.#ramp(server.upSince)
  }

  /** Checks that all fail at once say more about the checks, or about us, than about the servers. */
  #lookForPanic(): void {
    const hope = this.isLost ? hopeAmong(this.servers) : undefined
    if (hope === this.#hope) return
    this.#hope = hope
    this.#ports.telemetry.event(
      hope === undefined ? { type: 'pool-calm', pool: this.name } : { type: 'pool-panics', pool: this.name, hope },
    )
    if (hope !== undefined) for (const server of this.servers) this.#offer(server)
  }
}
