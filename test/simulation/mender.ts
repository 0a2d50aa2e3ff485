/**
 * Somebody who mends what could not be delivered: sends dead letters again, empties queues, enables endpoints that were disabled and replays what
 * they have missed. While there are faults he does so by chance; after them until nothing is left to be mended.
 */
import type { SeededRandom } from '../support/seeded-random.ts'
import { API_HEADERS, GatewayConnection, type Outcome } from './exchange.ts'
import { OWN_QUEUES } from './following.ts'
import type { SimNetwork } from './network.ts'
import type { World } from './world.ts'

export interface MenderParts {
  readonly world: World
  readonly network: SimNetwork
  readonly random: SeededRandom
  readonly gatewayAddress: string
  readonly endpoints: readonly string[]
  /** Ids of dead letters of which no client has heard. */
  readonly strays: () => readonly string[]
  /** How often, while there are faults. */
  readonly mendings: number
  /** Webhooks were given up. */
  readonly isNeeded: () => boolean
  readonly calm: () => boolean
  readonly over: () => boolean
}

const PATIENCE_MS = 20_000

export class Mender {
  readonly #parts: MenderParts

  constructor(parts: MenderParts) {
    this.#parts = parts
  }

  async run(): Promise<void> {
    const { world, random, mendings, calm, over, isNeeded } = this.#parts
    for (let left = mendings; left > 0 && !calm(); left--) {
      await world.sleep(1000 + random.integer(4000))
      await this.#mend()
    }
    while (!over()) {
      await world.sleep(2000)
      if (calm() && isNeeded()) await this.#replay()
    }
  }

  async #mend(): Promise<void> {
    const { random, strays } = this.#parts
    const queue = random.pick(OWN_QUEUES)
    const id = random.pick([...strays(), ''])
    switch (random.integer(5)) {
      case 0:
        return this.#do('POST', `queues/${queue}/tasks`, { kind: 'redrive', filter: { dead: true } })
      case 1:
        return this.#do('POST', `queues/${queue}/purge`, { confirm: queue })
      case 2:
        return this.#do('POST', `queues/${queue}/tasks`, { kind: 'forget', filter: {} })
      case 3:
        return this.#replay()
      default:
        return id === '' ? undefined : this.#do('POST', `jobs/${id}/redrive`, {})
    }
  }

  async #replay(): Promise<void> {
    for (const endpoint of this.#parts.endpoints) {
      await this.#do('POST', `webhooks/${endpoint}/enable`, {})
      await this.#do('POST', `webhooks/${endpoint}/replay`, {})
    }
  }

  async #do(method: string, path: string, document: unknown): Promise<void> {
    const { world, network, gatewayAddress } = this.#parts
    const connection = new GatewayConnection(world, network, gatewayAddress)
    const body = Buffer.from(JSON.stringify(document))
    const asked = { method, target: `/_spillway/api/${path}`, headers: API_HEADERS, body, timeoutMs: PATIENCE_MS }
    const outcome: Outcome = await connection.ask(asked)
    connection.leave()
    const answer = outcome.kind === 'answer' ? `${outcome.status}` : outcome.reason
    world.history.log(`mender: ${method} ${path} ${JSON.stringify(document)}: ${answer}`)
    const wrong = outcome.kind === 'answer' && outcome.status === 400
    world.history.check(!wrong, 'answers make sense', () => `${path}: ${wrong ? outcome.message.body.toString() : ''}`)
  }
}
