/** Somebody who operates the gateway of a simulation by its API: pauses queues and lets them go on, and releases keys that a failed job blocks. */
import type { SeededRandom } from '../support/seeded-random.ts'
import { API_HEADERS, GatewayConnection, type Outcome } from './exchange.ts'
import type { SimNetwork } from './network.ts'
import type { World } from './world.ts'

export interface OperatorParts {
  readonly world: World
  readonly network: SimNetwork
  readonly random: SeededRandom
  readonly gatewayAddress: string
  readonly queues: readonly string[]
  /** Else only keys are released. */
  readonly pauses: boolean
  readonly calm: () => boolean
  readonly over: () => boolean
}

const PATIENCE_MS = 20_000

export class Operator {
  readonly #parts: OperatorParts
  readonly #paused = new Set<string>()

  constructor(parts: OperatorParts) {
    this.#parts = parts
  }

  async run(): Promise<void> {
    const { world, random, queues, pauses, calm, over } = this.#parts
    while (!over()) {
      await world.sleep(calm() ? 500 : 500 + random.integer(4000))
      for (const queue of this.#paused) if (calm() || random.chance(0.5)) await this.#resume(queue)
      if (pauses && !calm() && random.chance(0.3)) await this.#pause(random.pick(queues))
      if (calm() || random.chance(0.5)) for (const queue of queues) await this.#release(queue)
    }
  }

  async #pause(queue: string): Promise<void> {
    // Also where the answer is lost it may be paused now.
    this.#paused.add(queue)
    await this.#ask('POST', `queues/${queue}/pause`)
  }

  async #resume(queue: string): Promise<void> {
    const outcome = await this.#ask('POST', `queues/${queue}/resume`)
    if (outcome.kind === 'answer' && outcome.status === 200) this.#paused.delete(queue)
  }

  async #release(queue: string): Promise<void> {
    const outcome = await this.#ask('GET', `queues/${queue}/keys?blocked=true`)
    if (outcome.kind !== 'answer' || outcome.status !== 200) return
    const { keys } = JSON.parse(outcome.message.body.toString('utf8')) as { readonly keys: readonly { readonly key: string }[] }
    for (const { key } of keys) await this.#ask('POST', `queues/${queue}/keys/release`, { key })
  }

  async #ask(method: string, path: string, document?: unknown): Promise<Outcome> {
    const { world, network, gatewayAddress } = this.#parts
    const connection = new GatewayConnection(world, network, gatewayAddress)
    const body = document === undefined ? {} : { body: Buffer.from(JSON.stringify(document)) }
    const asked = { method, target: `/_spillway/api/${path}`, headers: API_HEADERS, timeoutMs: PATIENCE_MS, ...body }
    const outcome = await connection.ask(asked)
    connection.leave()
    const answer = outcome.kind === 'answer' ? outcome.status : outcome.reason
    if (method !== 'GET')
      world.history.log(`operator: ${method} ${path} ${document === undefined ? '' : JSON.stringify(document)}: ${answer}`)
    return outcome
  }
}
