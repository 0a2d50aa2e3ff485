/** What follows from ends of jobs, with all who take part in it: receivers, clients that send batches, and somebody who mends what was given up. */
import type { EndpointConfig } from '../../src/config/config.ts'
import type { JobStore } from '../../src/ports/job-store.ts'
import { BatchClient } from './batch-client.ts'
import { Ends } from './ends.ts'
import type { Facts } from './facts.ts'
import { addressOf, type Following } from './following.ts'
import { Mender, type MenderParts } from './mender.ts'
import type { SimNetwork } from './network.ts'
import type { Oracle } from './oracle.ts'
import { GOOD_MANNERS, Receiver } from './receiver.ts'
import type { Scenario } from './scenario.ts'
import type { World } from './world.ts'

export interface AftermathParts {
  readonly world: World
  readonly network: SimNetwork
  readonly facts: Facts
  readonly oracle: Oracle
  readonly scenario: Scenario
  readonly following: Following
}

interface Users {
  readonly gatewayAddress: string
  readonly calm: () => boolean
  readonly over: () => boolean
  readonly begin: (user: { run(): Promise<void> }, name: string) => void
}

/** Requests of one batch are numbered from here on; those of the next one from so many more. */
const BATCH_TAGS = 10_000

export class Aftermath {
  readonly ends: Ends
  /** Clients that have not seen the end of their batch. */
  clients = 0
  readonly #parts: AftermathParts
  readonly #receivers: readonly Receiver[]

  constructor(parts: AftermathParts) {
    const { world, network, facts, oracle, scenario, following } = parts
    this.#parts = parts
    const ends = new Ends(world, facts, oracle, scenario)
    this.ends = ends
    this.#receivers = this.#endpoints.map((endpoint, i) => {
      const random = world.stream(70 + i)
      const received = (id: string, body: Buffer, taken: boolean): void => ends.received(endpoint.name, id, body, taken)
      return new Receiver(addressOf(endpoint), following.manners, {
        ...{ world, network, random, received },
        secret: endpoint.secrets[0] as string,
      })
    })
  }

  get isQuiet(): boolean {
    return this.clients === 0 && this.ends.isQuiet
  }

  plan({ gatewayAddress, calm, over, begin }: Users): void {
    const { world, network, facts, scenario, following } = this.#parts
    const random = world.stream(80)
    const unsteady = (): boolean => scenario.unsteadyClients && !calm()
    for (let i = 1; i <= following.batches; i++) {
      const parts = { world, network, facts, gatewayAddress, unsteady, keys: scenario.keys, random: world.stream(90 + i) }
      const client = new BatchClient(parts, i * BATCH_TAGS)
      this.clients++
      const run = (): Promise<void> => client.run().then(() => void this.clients--)
      world.after(100 + random.unit() * scenario.chaosMs, () => begin({ run }, `batch client ${i}`))
    }
    for (let i = 0; i < following.receiverFailures && this.#receivers.length > 0; i++)
      world.after(
        random.unit() * scenario.chaosMs,
        () => calm() || this.#fail(random.pick(this.#receivers), random.integer(3), random.integer(8000)),
      )
    world.after(2, () => begin(this.#mender({ world, network, gatewayAddress, calm, over }), 'mender'))
  }

  becomeCalm(): void {
    for (const receiver of this.#receivers) {
      receiver.manners = GOOD_MANNERS
      this.#mend(receiver)
    }
  }

  async check(store: JobStore): Promise<void> {
    await this.ends.checkAll(store)
  }

  get #endpoints(): readonly EndpointConfig[] {
    return this.#parts.scenario.config.webhooks?.endpoints ?? []
  }

  #mender(common: Pick<MenderParts, 'world' | 'network' | 'gatewayAddress' | 'calm' | 'over'>): Mender {
    return new Mender({
      ...common,
      random: common.world.stream(61),
      endpoints: this.#endpoints.map(({ name }) => name),
      strays: () =>
        [...this.ends.batches.values()].flatMap(({ jobs }) => jobs.filter(({ status }) => status === 'failed').map(({ id }) => id)),
      mendings: this.#parts.following.mendings,
      isNeeded: () => this.ends.givenUp.length > 0,
    })
  }

  #fail(receiver: Receiver, kind: number, forMs: number): void {
    const { world, network } = this.#parts
    world.history.log(`receiver ${receiver.address} ${['dies', 'vanishes', 'is cut off'][kind]} for ${forMs} ms`)
    if (kind === 2) network.cutOff(receiver.address)
    else receiver.die(kind === 1)
    world.after(forMs, () => this.#mend(receiver))
  }

  #mend(receiver: Receiver): void {
    this.#parts.network.rejoin(receiver.address)
    receiver.comeBack()
  }
}
