/**
 * One seed: a gateway, its servers, its clients and what befalls them, for some virtual time; then the faults stop, everything has to drain,
 * and the promises are checked. The same seed gives the same history.
 */
import type { JobStore, StoredJob } from '../../src/ports/job-store.ts'
import { Aftermath } from './aftermath.ts'
import { Client, type ClientParts } from './client.ts'
import { Facts, type Intent, newIntent, type Run } from './facts.ts'
import { NO_STORE_FAULTS } from './faulty-store.ts'
import { GatewayLives } from './gateway-lives.ts'
import type { History, Violation } from './history.ts'
import { keptFiles, keptMemory, type KeptTables } from './kept-store.ts'
import { SimNetwork } from './network.ts'
import { Oracle } from './oracle.ts'
import { Operator } from './operator.ts'
import { Promises } from './promises.ts'
import { CONSUMER_PATIENCE_MS, PullConsumer } from './pull-consumer.ts'
import { CALM_WEATHER, GATEWAY_ADDRESS, type Scenario, scenarioOf } from './scenario.ts'
import { GOOD_TEMPER, SimServer } from './server.ts'
import { World } from './world.ts'

export interface SimulationOptions {
  /** A mistake put between the engine and everything else: a canary. */
  readonly tamper?: (store: JobStore, world: World) => JobStore
  /** A mistake in the tables of the memory engine. */
  readonly tamperTables?: (tables: KeptTables) => void
  /** Overrides what the seed says. */
  readonly change?: (scenario: Scenario) => Scenario
}

export interface SimulationResult {
  readonly seed: number
  readonly violations: readonly Violation[]
  readonly history: History
  readonly hash: string
  readonly virtualMs: number
  readonly steps: number
  readonly runs: number
  readonly jobs: number
}

/** After the faults: how long everything may take to drain, in virtual time. */
const DRAIN_MS = 900_000
/** Nothing moves for this long, although something could: somebody was not woken. */
const IDLE_MS = 4_000
/** Where the store's answer was lost, nobody knows that there is something to wake: it is found by looking now and then. */
const LOST_MS = 25_000
const LEFT_OVER_MS = 40_000
const FEW_CONNECTIONS = 100
const USERS_LEAVE_MS = 60_000
const LOOK_EVERY_MS = 500
/** Some clients come when all is well again. */
const LATE_MS = 8_000
/** Gauges that are 0 when nobody wants anything. */
const LEFT_OVER = [
  'spillway_server_in_flight',
  'spillway_server_tunnels',
  'spillway_pool_waiting',
  'spillway_job_watchers',
  'spillway_buffered_bytes',
  'spillway_connections',
  'spillway_webhooks_in_flight',
  'spillway_batches_running',
  'spillway_streamed_answers',
  'spillway_streamed_answer_readers',
] as const
const HOUR_MS = 3_600_000
/** Longer than anything is kept; and how long it may take until batches and jobs of that time are gone. */
const LONG_MS = 1000 * HOUR_MS
const SWEPT_MS = 90_000
const TICKED_MS = 31_000

export async function simulate(seed: number, options: SimulationOptions = {}): Promise<SimulationResult> {
  const world = new World(seed)
  const simulation = new Simulation(world, seed, options)
  try {
    await world.inside(() => simulation.run())
  } finally {
    simulation.remove()
  }
  return simulation.result()
}

class Simulation {
  readonly #world: World
  readonly #scenario: Scenario
  readonly #facts = new Facts()
  readonly #oracle: Oracle
  readonly #network: SimNetwork
  readonly #lives: GatewayLives
  readonly #servers: readonly SimServer[]
  readonly #promises: Promises
  readonly #aftermath: Aftermath | undefined
  readonly #kept
  readonly #storeFaults
  #clients = 0
  #apiUsers = 0
  #calm = false
  #readySince = new Map<string, number>()

  constructor(world: World, seed: number, options: SimulationOptions) {
    const drawn = scenarioOf(seed, world.stream(2), world.stream(7), world.stream(16))
    const scenario = options.change?.(drawn) ?? drawn
    this.#world = world
    this.#scenario = scenario
    this.#oracle = new Oracle(world, scenario.forgetful === 'full' ? scenario.config.queues.map(({ name }) => name) : [])
    this.#network = new SimNetwork(world, { ...scenario.weather })
    this.#kept = scenario.engine === 'memory' ? keptMemory(options.tamperTables) : keptFiles()
    this.#storeFaults = { ...scenario.storeFaults }
    const { following } = scenario
    const common = { world, network: this.#network, facts: this.#facts, oracle: this.#oracle, scenario }
    if (following !== undefined) this.#aftermath = new Aftermath({ ...common, following })
    const parts = { ...common, ends: this.#aftermath?.ends, kept: this.#kept, storeFaults: this.#storeFaults }
    this.#lives = new GatewayLives({ ...parts, tamper: options.tamper })
    this.#promises = new Promises(world, this.#facts, this.#oracle, scenario.config)
    const { before, after, slow } = scenario.storeFaults
    if (before + after + slow === 0) this.#oracle.onlookers.push({ lapsed: (job) => this.#promises.lapsed(job) })
    this.#servers = scenario.servers.map(
      (address, i) =>
        new SimServer(address, scenario.temper, {
          world,
          network: this.#network,
          facts: this.#facts,
          random: world.stream(20 + i),
          arrived: (run, message) => this.#promises.arrived(run, message),
          jobOf: (id) => this.#oracle.jobs.get(id),
        }),
    )
  }

  async run(): Promise<void> {
    const { chaosMs } = this.#scenario
    const world = this.#world
    world.after(0, () => void this.#lives.start())
    this.#planClients()
    this.#planApiUsers()
    this.#planFaults()
    await world.runUntil(() => false, chaosMs)
    this.#becomeCalm()
    await world.runUntil(() => this.#drained(), DRAIN_MS)
    await this.#end()
  }

  result(): SimulationResult {
    const { history, now, steps } = this.#world
    return {
      seed: this.#scenario.seed,
      violations: history.violations,
      history,
      hash: history.hash(),
      virtualMs: now,
      steps,
      runs: this.#facts.runs.length,
      jobs: this.#oracle.jobs.size,
    }
  }

  remove(): void {
    this.#kept.drop()
    this.#kept.remove()
  }

  // --- clients

  #planClients(): void {
    const { intents, chaosMs } = this.#scenario
    const random = this.#world.stream(3)
    const parts: ClientParts = {
      world: this.#world,
      network: this.#network,
      facts: this.#facts,
      random: this.#world.stream(4),
      gatewayAddress: GATEWAY_ADDRESS,
      unsteady: () => this.#scenario.unsteadyClients && !this.#calm,
      excused: (connection) => connection.vanished || (connection.process !== undefined && !connection.process.alive),
      mayBeGone: (id) => this.#oracle.mayBeGone(id),
      isWell: () => this.#calm && this.#lives.isWell,
      stoppedAt: (process) => (process === undefined ? undefined : this.#lives.stoppedAt.get(process)),
      drainTimeoutMs: this.#scenario.config.drainTimeoutMs,
      streams: ({ route }: Intent) => this.#scenario.config.routes.some(({ name, stream }) => name === route && stream !== undefined),
    }
    for (let tag = 1; tag <= intents; tag++) {
      const intent = this.#intent(tag)
      this.#facts.intents.set(tag, intent)
      this.#clients++
      this.#world.after(100 + random.unit() * (chaosMs + LATE_MS), () => {
        void new Client(parts, intent).run().then(
          () => this.#clients--,
          (error: unknown) => this.#world.history.violated('the simulation works', `client ${tag}: ${(error as Error).stack}`),
        )
      })
    }
  }

  #planApiUsers(): void {
    const { consumers, lateness, operated, config } = this.#scenario
    const world = this.#world
    const common = {
      world,
      network: this.#network,
      gatewayAddress: GATEWAY_ADDRESS,
      calm: () => this.#calm,
      over: () => this.#calm && this.#drained(),
    }
    const begin = (user: { run(): Promise<void> }, name: string): void => {
      this.#apiUsers++
      void user.run().then(
        () => this.#apiUsers--,
        (error: unknown) => world.history.violated('the simulation works', `${name}: ${(error as Error).stack}`),
      )
    }
    for (let i = 1; i <= consumers; i++) {
      const received = (run: Run, target: string, body: Buffer): void => this.#promises.received(run, target, body)
      const parts = { ...common, facts: this.#facts, random: world.stream(50 + i), lateness, received }
      world.after(i, () => begin(new PullConsumer(`pull-${i}`, 'pulled', parts), `consumer ${i}`))
    }
    this.#aftermath?.plan({ ...common, begin })
    const queues = config.queues.map(({ name }) => name)
    const blocks = config.queues.some(({ rules }) => rules.onFailure === 'block')
    if (!operated && !blocks) return
    const operator = new Operator({ ...common, random: world.stream(60), queues, pauses: operated })
    world.after(1, () => begin(operator, 'operator'))
  }

  #intent(tag: number): Intent {
    const random = this.#world.stream(1000 + tag)
    const { keys, consumers } = this.#scenario
    const pulled = consumers > 0 ? (['pulled', 'pulled', 'pulled'] as const) : []
    const size = random.chance(0.05) ? random.integer(60_000) : random.integer(200)
    return newIntent({
      tag,
      route: random.pick(['queue', 'queue', 'queue', 'held', 'held', 'spill', 'spill', 'direct', ...pulled]),
      method: random.chance(0.8) ? 'POST' : 'PUT',
      body: Buffer.concat([Buffer.from(`${tag}:`), random.bytes(Math.min(size, 64)), Buffer.alloc(Math.max(0, size - 64), tag)]),
      key: random.chance(0.5) ? `k${random.integer(keys)}` : undefined,
      idempotencyKey: random.chance(0.4) ? `i${tag}` : undefined,
      delayMs: random.chance(0.1) ? random.integer(6000) : 0,
      priority: random.chance(0.2) ? random.integer(10) : 0,
    })
  }

  // --- faults

  #planFaults(): void {
    const { crashes, drains, pauses, wallJumps, serverFailures, fatals, chaosMs } = this.#scenario
    const random = this.#world.stream(5)
    const world = this.#world
    const at = (times: number, fn: () => void): void => {
      for (let i = 0; i < times; i++) world.after(random.unit() * chaosMs, () => this.#calm || fn())
    }
    at(crashes, () => {
      this.#lives.crash(random.chance(0.2))
      world.after(50 + random.integer(2000), () => void this.#lives.start())
    })
    at(drains, () => void this.#lives.stop().then(() => this.#lives.start()))
    at(pauses, () => this.#lives.pause(random.pick([100, 3000, 20_000])))
    at(fatals, () => {
      this.#lives.fail()
      world.after(50 + random.integer(2000), () => void this.#lives.start())
    })
    at(wallJumps, () => {
      const by = random.chance(0.5) ? HOUR_MS : -HOUR_MS
      world.history.log(`the wall clock jumps by ${by} ms`)
      world.jumpWall(by)
    })
    at(serverFailures, () => this.#failServer(random.pick(this.#servers), random.integer(5), 200 + random.integer(8000)))
  }

  #failServer(server: SimServer, kind: number, forMs: number): void {
    const { history } = this.#world
    history.log(`server ${server.address} ${['dies', 'vanishes', 'is cut off', 'hangs', 'is sick'][kind]} for ${forMs} ms`)
    if (kind === 0 || kind === 1) server.die(kind === 1)
    if (kind === 2) this.#network.cutOff(server.address)
    if (kind === 3) server.hung = true
    if (kind === 4) server.sick = true
    this.#world.after(forMs, () => this.#mend(server))
  }

  #mend(server: SimServer): void {
    this.#network.rejoin(server.address)
    server.comeBack()
  }

  #becomeCalm(): void {
    this.#world.history.log('the faults stop')
    this.#calm = true
    Object.assign(this.#storeFaults, NO_STORE_FAULTS)
    Object.assign(this.#network.weather, CALM_WEATHER)
    for (const server of this.#servers) {
      server.temper = GOOD_TEMPER
      this.#mend(server)
    }
    if (this.#aftermath !== undefined) this.#becomeCalmAfter(this.#aftermath)
    this.#world.after(0, () => void this.#lives.start())
    this.#world.after(LATE_MS, () => void this.#look())
  }

  #becomeCalmAfter(aftermath: Aftermath): void {
    const world = this.#world
    aftermath.becomeCalm()
    // What ended in an hour to come is nothing that could be replayed now.
    world.jumpWall(world.wallMax - world.wall)
  }

  // --- the end

  #drained(): boolean {
    return this.#clients === 0 && this.#oracle.unfinished === 0 && (this.#aftermath?.isQuiet ?? true)
  }

  /** When all is well, a job that is ready and a server that is free meet soon. */
  async #look(): Promise<void> {
    const world = this.#world
    const { store } = this.#lives
    if (this.#drained() || world.history.violations.length > 0) return
    const jobs = [...this.#oracle.jobs.values()]
    const waiting = jobs.filter((job) => job.place === 'waiting').map(({ id }) => id)
    const idle = !jobs.some((job) => job.place === 'running') && this.#lives.gauge('spillway_server_in_flight') === 0
    const reads = idle && store !== undefined && this.#lives.isWell && waiting.length > 0 ? await store.read(waiting, 'status') : []
    const views = reads.flatMap((read) => (read === undefined ? [] : [read.job]))
    const ready = new Map<string, number>()
    for (const { id, queue, position, blockedBy } of views) {
      if (position === undefined || blockedBy !== undefined || this.#oracle.isPaused(queue)) continue
      const forMs = world.now - (this.#readySince.get(id) ?? world.now)
      ready.set(id, world.now - forMs)
      world.history.check(
        forMs <= this.#idleMax(queue),
        'whoever can run is woken',
        () => `${id} is ready for ${forMs} ms, and nothing runs`,
      )
    }
    this.#readySince = ready
    this.#setWallRight(views)
    world.after(LOOK_EVERY_MS, () => void this.#look())
  }

  #idleMax(queue: string): number {
    const { storeFaults, chaosMs, config } = this.#scenario
    const lost = storeFaults.after > 0 && this.#world.now < chaosMs + LOST_MS
    const idleMs = lost ? LOST_MS : IDLE_MS
    if (queue !== 'pulled') return idleMs
    // Where connections are few, clients that wait for a job may keep out who would work on it.
    return config.limits.connections < FEW_CONNECTIONS ? Number.POSITIVE_INFINITY : idleMs + CONSUMER_PATIENCE_MS
  }

  /** After the wall clock was set back, delayed jobs are due in an hour: nobody has to wait for that. */
  #setWallRight(waiting: readonly StoredJob[]): void {
    const first = waiting.filter(({ blockedBy }) => blockedBy === undefined)
    if (first.length === 0 || !first.every(({ notBefore }) => (notBefore ?? 0) > this.#world.wall + HOUR_MS / 2)) return
    this.#world.history.log('the wall clock is set right')
    this.#world.jumpWall(HOUR_MS)
  }

  /** What was kept for its time goes when that is over, on the disk and in memory. */
  async #checkForgotten({ ends }: Aftermath): Promise<void> {
    const world = this.#world
    const { store } = this.#lives
    world.history.log('everything is long ago')
    world.jumpWall(LONG_MS)
    const kept = (): number => this.#lives.gauge('spillway_batches')
    await world.runUntil(() => kept() === 0, SWEPT_MS)
    await world.runUntil(() => false, TICKED_MS)
    if (store !== undefined) await ends.checkForgotten(store)
    world.history.check(kept() === 0, 'nothing is kept for ever', () => `${kept()} batches are in memory`)
  }

  async #end(): Promise<void> {
    const world = this.#world
    this.#promises.ended()
    await world.runUntil(() => this.#apiUsers === 0, USERS_LEAVE_MS)
    await world.runUntil(() => false, 2_000)
    const { store } = this.#lives
    if (store !== undefined) await this.#oracle.checkCounters(store)
    if (store !== undefined) await this.#aftermath?.check(store)
    const left = (): readonly string[] => LEFT_OVER.filter((gauge) => this.#lives.gauge(gauge) !== 0)
    // Slots are reserved for a moment whenever the store is asked for jobs, and of clients that vanished the gateway learns by its timeouts.
    const none = await world.runUntil(() => left().length === 0, LEFT_OVER_MS)
    world.history.check(none, 'nothing is left over', () =>
      left()
        .map((gauge) => `${gauge} is ${this.#lives.gauge(gauge)}`)
        .join(', '),
    )
    if (this.#aftermath !== undefined) await this.#checkForgotten(this.#aftermath)
    let down = false
    world.after(0, () => {
      void this.#lives.stop().then(() => {
        down = true
      })
    })
    const stopped = await world.runUntil(() => down, 120_000)
    world.history.check(stopped, 'a gateway stops in time', () => 'it still runs')
  }
}
