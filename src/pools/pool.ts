/**
 * Servers that do the same work: who is up, who has a free slot, who waits for one. Requests that find none wait here, in one bounded line
 * for the whole pool, and are bound to a server only when a slot is theirs: no request waits behind a busy server while another is idle.
 */
import { type Balancer, createBalancer } from '../core/balancing/balancer.ts'
import { PeakEwma } from '../core/balancing/peak-ewma.ts'
import { WaitList } from '../core/balancing/wait-list.ts'
import { afterConnectFailure, afterProbe, type Health, nextProbeMs, ownShortage, type ProbeResult, UNKNOWN } from '../core/health/health.ts'
import { slowStartShare } from '../core/health/slow-start.ts'
import { RetryBudget } from '../core/retry/budget.ts'
import type { PoolConfig, ServerConfig } from '../config/config.ts'
import { hash32 } from '../lib/hash.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import { probe } from '../net/probe.ts'
import type { Clock, Random, Timer } from '../ports/clock.ts'
import type { Network } from '../ports/network.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Telemetry } from '../telemetry/telemetry.ts'
import { LiveTraffic } from './live-traffic.ts'

export type ServerState = 'unknown' | 'up' | 'down' | 'draining'

export class Server {
  readonly name: string
  readonly pool: string
  readonly config: ServerConfig
  state: ServerState = 'unknown'
  inFlight = 0
  /** Of these, attempts of jobs. */
  jobs = 0
  /** When a job got a slot the last time, and since when none has one. */
  jobsFrom: MonotonicMillis = 0
  jobsUntil: MonotonicMillis = 0
  tunnels = 0
  /** Of the current up phase. */
  upSince: MonotonicMillis = 0
  /** This up phase followed a seen failure: slow start applies. */
  returned = false
  downSince: MonotonicMillis = 0
  downReason = ''
  /** It said 429 or 503: its share is paused until then, or until it has been down. */
  pausedUntil: MonotonicMillis = 0

  // For balancing and checks; the pool's own.
  readonly configuredWeight: number
  readonly hash: number
  readonly latency: PeakEwma = new PeakEwma()
  /** As configured; less while it starts slowly. */
  weight: number
  slots: number
  credit = 0
  health: Health = UNKNOWN
  probing = false
  probeTimer: Timer | undefined

  constructor({ name: pool, maxInFlight }: PoolConfig, config: ServerConfig) {
    this.pool = pool
    this.config = config
    this.name = config.name
    this.hash = hash32(config.name)
    this.configuredWeight = config.weight
    this.weight = config.weight
    this.slots = maxInFlight
  }
}

export interface PoolChange {
  readonly server: Server
  readonly to: 'up' | 'down'
  readonly reason: string
  readonly cause: 'check' | 'connection'
}

export interface Waiter {
  /** A slot of this server is yours. */
  grant(server: Server): void
  /** Time is up. */
  expire(): void
  /** False: nobody is left whom it would serve. It gets no slot, and leaves by itself. */
  readonly wanted: boolean
}

export interface Wait {
  readonly forMs: Millis
  /** Servers that are of no use to it. */
  readonly excluded?: ReadonlySet<Server> | undefined
  /** It must not be passed by others that have an order. */
  readonly ordered?: boolean
}

interface WaitEntry {
  readonly waiter: Waiter
  readonly excluded: ReadonlySet<Server> | undefined
  readonly untilAt: MonotonicMillis
}

/** Who hands out jobs. */
export interface SlotSeeker {
  /** A slot of this server is free, and nobody waits for it. */
  slotFree(server: Server): void
  /** It would take one as soon as it can. */
  wants(server: Server): boolean
}

export interface PoolPorts {
  readonly clock: Clock
  readonly random: Random
  readonly network: Network
  readonly telemetry: Telemetry
}

/** While requests wait without end, jobs get a slot of a server after it had none for so long, and for so many times as long as the last one had it. */
const JOBS_TURN_MS: Millis = 1_000
const JOBS_TURN_TIMES = 4
const EXPIRY_RESOLUTION_MS: Millis = 20
/** A shortage of ours meets every connect; it is told of once in a while. */
const SHORTAGE_EVERY_MS: Millis = 10_000

export class Pool {
  readonly name: string
  readonly config: PoolConfig
  readonly servers: readonly Server[]
  readonly #ports: PoolPorts
  /** What its requests meet. */
  readonly live: LiveTraffic = new LiveTraffic()
  readonly retries: RetryBudget
  readonly #balancer: Balancer<Server>
  /** Some server starts slowly. */
  #ramping = false
  readonly #waiting = new WaitList<WaitEntry>()
  readonly #retried: Readonly<Record<'sent' | 'refused', Counter>>
  readonly #changeListeners = new Set<(change: PoolChange) => void>()
  readonly #seekers = new Set<SlotSeeker>()
  #expiryTimer: Timer | undefined
  #resumeTimer: Timer | undefined
  #shortageToldAt: MonotonicMillis = Number.NEGATIVE_INFINITY
  #closed = false

  constructor(config: PoolConfig, ports: PoolPorts) {
    this.name = config.name
    this.config = config
    this.servers = config.servers.map((server) => new Server(config, server))
    this.#ports = ports
    this.retries = new RetryBudget(config.retries)
    if (config.balance === 'peak-ewma') this.live.measured = true
    this.#balancer = createBalancer(config.balance, this.servers, () => ports.random.unit())
    const counter = (outcome: string): Counter =>
      ports.telemetry.metrics.counter('spillway_retries_total', METRICS.spillway_retries_total.help, { pool: config.name, outcome })
    this.#retried = { sent: counter('sent'), refused: counter('refused') }
  }

  /** Begins to check the servers. */
  start(): void {
    for (const server of this.servers) this.#probeNow(server)
  }

  close(): void {
    this.#closed = true
    for (const server of this.servers) server.probeTimer?.cancel()
    this.#expiryTimer?.cancel()
    this.#resumeTimer?.cancel()
    this.#expire(() => true)
  }

  get waiting(): number {
    return this.#waiting.size
  }

  upServers(): readonly Server[] {
    return this.servers.filter((server) => server.state === 'up')
  }

  /** The panic rule's question: do more than half of the servers look bad? */
  majorityDown(): boolean {
    let down = 0
    for (const server of this.servers) if (server.state === 'down') down++
    return down * 2 > this.servers.length
  }

  freeSlots(server: Server): number {
    if (server.state !== 'up' || this.#rests(server)) return 0
    if (this.#ramping) this.#ramp(this.#ports.clock.monotonic())
    return Math.max(0, server.slots - server.inFlight)
  }

  #rests(server: Server): boolean {
    return server.pausedUntil !== 0 && server.pausedUntil > this.#ports.clock.monotonic()
  }

  /** A slot for a job. While live requests come some are kept for them; one of each server is the jobs' in any case. */
  reserve(server: Server): boolean {
    if (this.freeSlots(server) === 0) return false
    const now = this.#ports.clock.monotonic()
    if (server.jobs >= this.#jobsMax && this.live.comes(now)) return false
    server.inFlight++
    server.jobs++
    server.jobsFrom = now
    return true
  }

  /** The slot of a job is free again. */
  releaseJob(server: Server): void {
    if (--server.jobs === 0) server.jobsUntil = this.#ports.clock.monotonic()
    this.release(server)
  }

  /** Jobs on a server, while live requests come. */
  get #jobsMax(): number {
    const { maxInFlight, reserve } = this.config
    return Math.max(1, maxInFlight - Math.floor(maxInFlight * reserve))
  }

  /**
   * May a request that reached a server in vain be sent to another one? Not when most of them have enough to do already, and not more often than the
   * pool's budget says. True: it counts.
   */
  mayRepeat(): boolean {
    const may = !this.#mostlyBusy() && this.retries.take(this.#ports.clock.monotonic())
    this.#retried[may ? 'sent' : 'refused'].inc()
    return may
  }

  /** More than half of the servers that are up take nothing more now. */
  #mostlyBusy(): boolean {
    const up = this.upServers()
    return up.filter((server) => this.freeSlots(server) === 0).length * 2 > up.length
  }

  /** Chooses a server with a free slot and takes the slot. `keyHash`: of what binds the request to a server, where the pool balances by it. */
  acquire(excluded?: ReadonlySet<Server>, keyHash?: number): Server | undefined {
    const now = this.#ports.clock.monotonic()
    if (this.#ramping) this.#ramp(now)
    this.live.came++
    let up = false
    const candidates: Server[] = []
    for (const server of this.servers) {
      if (server.state === 'up') up = true
      if (server.state !== 'up' || server.inFlight >= server.slots || this.#rests(server)) continue
      if (excluded?.has(server) !== true) candidates.push(server)
    }
    const chosen = this.#balancer.pick(candidates, { now, keyHash })
    if (chosen !== undefined) chosen.inFlight++
    else if (up && excluded === undefined) this.live.waited++
    return chosen
  }

  /** Servers that came back have a share of their weight and slots that grows. */
  #ramp(now: MonotonicMillis): void {
    this.#ramping = false
    for (const server of this.servers) {
      const share = server.returned ? slowStartShare(now - server.upSince, this.config.slowStartMs) : 1
      server.weight = server.configuredWeight * share
      server.slots = Math.ceil(this.config.maxInFlight * share)
      if (share < 1) this.#ramping = true
    }
  }

  /** Chooses the server with the fewest tunnels and takes a place for one more. */
  acquireTunnel(): Server | undefined {
    let chosen: Server | undefined
    for (const server of this.servers) {
      if (server.state !== 'up' || server.tunnels >= this.config.maxTunnels) continue
      if (chosen === undefined || server.tunnels / server.weight < chosen.tunnels / chosen.weight) chosen = server
    }
    if (chosen !== undefined) chosen.tunnels++
    return chosen
  }

  releaseTunnel(server: Server): void {
    server.tunnels--
  }

  /** Gets in line. Undefined: the line is full. The returned function leaves the line. */
  wait(waiter: Waiter, { forMs, excluded, ordered = false }: Wait): (() => void) | undefined {
    if (this.#waiting.size >= this.config.maxWaiting) {
      this.#ports.telemetry.event({ type: 'limit-reached', limit: 'maxWaiting', where: this.name, value: this.config.maxWaiting })
      return undefined
    }
    const now = this.#ports.clock.monotonic()
    const place = this.#waiting.add({ waiter, excluded, untilAt: now + forMs }, ordered, now)
    this.#expiryTimer ??= this.#ports.clock.after(EXPIRY_RESOLUTION_MS, this.#expireWaiters)
    return () => this.#waiting.remove(place)
  }

  release(server: Server): void {
    server.inFlight--
    this.#offer(server)
  }

  /** It began to answer a live request that was sent at that moment. */
  answered(server: Server, sentAt: MonotonicMillis): void {
    const now = this.#ports.clock.monotonic()
    this.live.took(now - sentAt)
    server.latency.observe(now - sentAt, now)
  }

  /** It said "not now": its share rests; requests in flight go on. */
  pause(server: Server, forMs: Millis): void {
    this.live.refused++
    server.pausedUntil = Math.max(server.pausedUntil, this.#ports.clock.monotonic() + forMs)
    this.#armResume()
  }

  onChange(listener: (change: PoolChange) => void): () => void {
    this.#changeListeners.add(listener)
    return () => void this.#changeListeners.delete(listener)
  }

  onSlotFree(seeker: SlotSeeker): () => void {
    this.#seekers.add(seeker)
    return () => void this.#seekers.delete(seeker)
  }

  // --- what live requests met

  /** A connection was refused or timed out: nothing can be sent there. */
  connectFailed(server: Server, reason: string): void {
    const before = server.health.state
    server.health = afterConnectFailure(server.health)
    if (before !== server.health.state) this.#become(server, 'down', reason, 'connection')
    this.#schedule(server)
  }

  /** The gateway itself lacked what a connection takes: no server is judged by that. */
  connectLacked(errno: string): void {
    const now = this.#ports.clock.monotonic()
    if (now - this.#shortageToldAt < SHORTAGE_EVERY_MS) return
    this.#shortageToldAt = now
    const message = `no connection to pool ${this.name} can be opened (${errno}): ${ownShortage(errno) ?? 'it is short of something'}`
    this.#ports.telemetry.event({ type: 'warning', message })
  }

  /** A connection broke while it was in use: look now instead of at the next interval. */
  connectionBroke(server: Server): void {
    this.#probeNow(server)
  }

  // --- the line

  /** Slots that became free go to who waits, and only then to jobs, unless these wait for ever. */
  #offer(server: Server): void {
    if (this.#waiting.size > 0) this.#serveLine(server, this.#isJobsTurn(server) ? 1 : 0)
    if (this.freeSlots(server) > 0) for (const seeker of this.#seekers) seeker.slotFree(server)
  }

  /** A line that never ends would keep a backlog from ever being worked off: so its jobs have a fifth of the time of one slot. */
  #isJobsTurn(server: Server): boolean {
    if (server.jobs > 0) return false
    const restMs = Math.max(JOBS_TURN_MS, JOBS_TURN_TIMES * (server.jobsUntil - server.jobsFrom))
    if (this.#ports.clock.monotonic() - server.jobsUntil < restMs) return false
    for (const seeker of this.#seekers) if (seeker.wants(server)) return true
    return false
  }

  /** All of its free slots but `kept`. */
  #serveLine(server: Server, kept: number): void {
    const canUse = ({ excluded, waiter }: WaitEntry): boolean => excluded?.has(server) !== true && waiter.wanted
    while (this.freeSlots(server) > kept) {
      const entry = this.#waiting.take(this.#ports.clock.monotonic(), canUse)
      if (entry === undefined) return
      server.inFlight++
      entry.waiter.grant(server)
    }
  }

  readonly #expireWaiters = (): void => {
    const now = this.#ports.clock.monotonic()
    this.#expire(({ untilAt }) => untilAt <= now)
    this.#expiryTimer =
      this.#waiting.size === 0 || this.#closed ? undefined : this.#ports.clock.after(EXPIRY_RESOLUTION_MS, this.#expireWaiters)
  }

  #expire(isOver: (entry: WaitEntry) => boolean): void {
    for (const place of this.#waiting) {
      if (!isOver(place.value)) continue
      this.#waiting.remove(place)
      place.value.waiter.expire()
    }
  }

  #armResume(): void {
    this.#resumeTimer?.cancel()
    const now = this.#ports.clock.monotonic()
    const next = Math.min(...this.servers.map((server) => (server.pausedUntil > now ? server.pausedUntil : Number.POSITIVE_INFINITY)))
    if (next === Number.POSITIVE_INFINITY || this.#closed) return
    this.#resumeTimer = this.#ports.clock.after(next - now + 1, () => {
      for (const server of this.servers) if (server.pausedUntil !== 0 && this.freeSlots(server) > 0) this.#offer(server)
      this.#armResume()
    })
  }

  // --- checks

  #schedule(server: Server): void {
    server.probeTimer?.cancel()
    if (this.#closed || server.probing) return
    const delay = nextProbeMs(server.health, this.config.health.intervalMs, this.#ports.random.unit())
    server.probeTimer = this.#ports.clock.after(delay, () => this.#probeNow(server))
  }

  #probeNow(server: Server): void {
    if (server.probing || this.#closed) return
    server.probing = true
    server.probeTimer?.cancel()
    const { path, timeoutMs } = this.config.health
    const { host, port } = server.config
    const target = path === undefined ? { host, port, timeoutMs } : { host, port, path, timeoutMs }
    void probe(target, this.#ports).then((result) => {
      server.probing = false
      if (this.#closed) return
      this.#probed(server, result)
      this.#schedule(server)
    })
  }

  #probed(server: Server, result: ProbeResult): void {
    if (result.kind === 'unasked') return this.connectLacked(result.errno)
    const before = server.health.state
    server.health = afterProbe(server.health, result, this.config.health)
    if (server.health.state === before) return
    if (server.health.state === 'up') this.#become(server, 'up', 'check passed', 'check')
    else this.#become(server, 'down', result.kind === 'failed' ? result.reason : '', 'check')
  }

  #become(server: Server, to: 'up' | 'down', reason: string, cause: 'check' | 'connection'): void {
    const now = this.#ports.clock.monotonic()
    const downForMs = server.state === 'down' ? now - server.downSince : undefined
    const event = { pool: this.name, server: server.name, reason }
    if (to === 'up') {
      server.returned = server.state === 'down'
      server.upSince = now
      // What said so is no more.
      server.pausedUntil = 0
      // What it took before says nothing about what came back.
      server.latency.forget()
      this.#ramp(now)
    } else {
      server.downSince = now
      server.downReason = reason
    }
    server.state = to
    if (to === 'down') this.#ports.telemetry.event({ type: 'server-down', ...event })
    else this.#ports.telemetry.event(downForMs === undefined ? { type: 'server-up', ...event } : { type: 'server-up', ...event, downForMs })
    for (const listener of this.#changeListeners) listener({ server, to, reason, cause })
    if (to === 'up') this.#offer(server)
  }
}
