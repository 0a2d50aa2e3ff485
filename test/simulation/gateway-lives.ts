/** The gateway of a simulation: started, stopped in order, stopped for a while, killed and started again on what its store has kept. */
import type { AdminOptions } from '../../src/admin/admin.ts'
import type { Gateway } from '../../src/gateway-options.ts'
import { startGateway } from '../../src/gateway.ts'
import type { JobStore } from '../../src/ports/job-store.ts'
import { NOTHING_COUNTED, type GatewayEvent, type Telemetry } from '../../src/telemetry/telemetry.ts'
import type { Ends } from './ends.ts'
import { faultyStore, type StoreFaults } from './faulty-store.ts'
import type { KeptStore } from './kept-store.ts'
import type { SimNetwork } from './network.ts'
import type { Oracle } from './oracle.ts'
import { agentsOver } from './receiver.ts'
import type { Scenario } from './scenario.ts'
import { Process, type World } from './world.ts'

export interface LivesParts {
  readonly world: World
  readonly network: SimNetwork
  readonly scenario: Scenario
  readonly kept: KeptStore
  readonly oracle: Oracle
  readonly ends: Ends | undefined
  readonly storeFaults: StoreFaults
  /** Between the engine and all that looks at it: where a canary sits. */
  readonly tamper: ((store: JobStore, world: World) => JobStore) | undefined
}

type Gauges = ReadonlyMap<string, () => Iterable<{ readonly labels?: Readonly<Record<string, string>>; readonly value: number }>>

interface Life {
  readonly process: Process
  readonly gateway: Gateway
  /** The engine as it is, without faults, under the eyes of the oracle. */
  readonly store: JobStore
  readonly gauges: Gauges
  /** As the store tells that it failed for good. */
  readonly fatal: (error: Error) => void
}

export class GatewayLives {
  readonly #parts: LivesParts
  #life: Life | undefined
  #starting = false
  #count = 0
  /** When a process was asked to stop. */
  readonly stoppedAt = new Map<Process, number>()

  constructor(parts: LivesParts) {
    this.#parts = parts
  }

  get process(): Process | undefined {
    return this.#life?.process
  }

  get store(): JobStore | undefined {
    return this.#life?.store
  }

  /** Whoever looks after the process tries again where it does not come up. */
  async start(): Promise<void> {
    if (this.#life !== undefined || this.#starting) return
    this.#starting = true
    const { world, network, kept } = this.#parts
    const process = new Process(`gateway ${++this.#count}`)
    try {
      this.#life = await this.#open(process)
      world.history.log(`${process.name} is up`)
    } catch (error) {
      world.history.log(`${process.name} does not come up: ${(error as Error).message}`)
      world.history.check(/simulated fault/.test(String(error)), 'a gateway comes up', () => (error as Error).stack ?? '')
      world.kill(process)
      network.kill(process, false)
      kept.drop()
      world.after(START_AGAIN_MS, () => void this.start())
    }
    this.#starting = false
  }

  async #open(process: Process): Promise<Life> {
    const { world, network, scenario, oracle, ends, kept, tamper, storeFaults } = this.#parts
    const gauges = new Map<string, () => Iterable<{ readonly value: number }>>()
    let store: JobStore | undefined
    let fatal: (error: Error) => void = () => undefined
    const gateway = await startGateway(scenario.config, {
      clock: world.clockOf(process),
      random: world.stream(100 + this.#count),
      network: network.of(process),
      webhookAgents: agentsOver(network.of(process)),
      telemetry: telemetryOf(world, gauges, ends),
      startAdmin: async ({ address }: AdminOptions) => ({ address, close: async () => undefined }),
      openStore: async (options) => {
        const opened = kept.open(options)
        fatal = (error) => options.events.onFatal?.(error)
        const engine = tamper === undefined ? opened : tamper(opened, world)
        await oracle.reopened(engine)
        const watched = oracle.watch(engine)
        store = ends === undefined ? watched : ends.watch(watched)
        return faultyStore(store, process, world, storeFaults)
      },
    })
    return { process, gateway, store: store as unknown as JobStore, gauges, fatal }
  }

  /** SIGKILL; or the machine is gone, and nobody tells its peers. */
  crash(silently: boolean): void {
    const life = this.#life
    if (life === undefined) return
    const { world, network, kept } = this.#parts
    this.stoppedAt.delete(life.process)
    world.history.log(`${life.process.name} is killed${silently ? ', silently' : ''}`)
    this.#life = undefined
    world.kill(life.process)
    network.kill(life.process, silently)
    kept.drop()
  }

  /** The store cannot go on: the gateway says so, and its process ends. */
  fail(): void {
    const life = this.#life
    if (life === undefined) return
    void life.gateway.fatal.then(() => {
      if (this.#life === life) this.crash(false)
    })
    life.fatal(new Error('simulated fault of a sync'))
  }

  /** SIGTERM. */
  async stop(): Promise<void> {
    const life = this.#life
    if (life === undefined) return
    const { world, network, scenario } = this.#parts
    // A process that is stopped hears of it when it goes on.
    while (life.process.paused) await world.sleep(10)
    if (this.#life !== life) return
    world.history.log(`${life.process.name} drains`)
    const begun = world.now
    this.stoppedAt.set(life.process, begun)
    await life.gateway.drain()
    await life.gateway.close()
    // It may have been killed meanwhile.
    if (!life.process.alive) return
    const took = world.now - begun
    const max = scenario.config.drainTimeoutMs + STOP_SLACK_MS
    world.history.check(took <= max, 'a gateway stops in time', () => `${life.process.name} took ${Math.round(took)} ms`)
    world.history.log(`${life.process.name} is down`)
    world.kill(life.process)
    network.kill(life.process, false)
    if (this.#life === life) this.#life = undefined
  }

  pause(forMs: number): void {
    if (this.#life === undefined) return
    this.#parts.world.history.log(`${this.#life.process.name} is stopped for ${forMs} ms`)
    this.#parts.world.pause(this.#life.process, forMs)
  }

  /** It runs, and knows that all its servers are up. */
  get isWell(): boolean {
    const { process } = this
    if (process === undefined || process.paused) return false
    return this.gauge('spillway_server_up') === this.#parts.scenario.servers.length
  }

  /** The sum of a gauge, as `/metrics` would show it. */
  gauge(name: string): number {
    let sum = 0
    for (const { value } of this.#life?.gauges.get(name)?.() ?? []) sum += value
    return sum
  }
}

const START_AGAIN_MS = 500
/** For answers of a slow store, and of clients that are slow to leave; a pause comes on top. */
const STOP_SLACK_MS = 90_000

function telemetryOf(world: World, gauges: Map<string, () => Iterable<{ readonly value: number }>>, ends: Ends | undefined): Telemetry {
  const nothing = { inc: () => undefined, observe: () => undefined }
  return {
    metrics: {
      counter: () => nothing,
      histogram: () => nothing,
      gauge: (name, _, read) => void gauges.set(name, read),
      forget: () => undefined,
      render: () => '',
      renderWith: () => '',
      dump: () => NOTHING_COUNTED,
      add: () => undefined,
    },
    accessLog: false,
    event: (event) => {
      told(world, event)
      ends?.told(event)
    },
    access: () => undefined,
    attempt: () => undefined,
    tunnel: () => undefined,
  }
}

/** What a gateway warns of is either a fault that the simulation made, or a fault of its own. */
function told(world: World, event: GatewayEvent): void {
  const { type, ...rest } = event
  if (type === 'started') return
  world.history.log(`gateway tells: ${type} ${JSON.stringify(rest)}`)
  if (type === 'store-corrupt') world.history.violated('nothing is damaged', JSON.stringify(rest))
  if (event.type !== 'warning' || /simulated fault|the store is closed/.test(event.message)) return
  const inside = event.message.startsWith('a call failed inside') || event.message.startsWith('a watcher of a job failed')
  world.history.check(!inside, 'no call fails inside the gateway', () => event.message)
}
