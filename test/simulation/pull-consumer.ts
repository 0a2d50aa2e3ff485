/**
 * A pull consumer of the simulation: receives jobs by the queue API, works on them, and settles them: in time, too late, or never. It is told
 * what became of each settlement, and believes it.
 */
import type { SeededRandom } from '../support/seeded-random.ts'
import { API_HEADERS, GatewayConnection, type Outcome } from './exchange.ts'
import type { Facts, Run } from './facts.ts'
import type { SimNetwork } from './network.ts'
import type { World } from './world.ts'

export interface ConsumerParts {
  readonly world: World
  readonly network: SimNetwork
  readonly facts: Facts
  readonly random: SeededRandom
  readonly gatewayAddress: string
  /** Told of every job that is received, with its body. */
  readonly received: (run: Run, target: string, body: Buffer) => void
  /** Chance that it settles when its lease is over. */
  readonly lateness: number
  readonly calm: () => boolean
  /** Nobody wants anything any more. */
  readonly over: () => boolean
}

interface ReceivedJob {
  readonly id: string
  readonly receipt: string
  readonly fence: number
  readonly attempt: number
  readonly target: string
  readonly base64?: string
  readonly text?: string
}

/** Longer than a receive waits. A machine that vanished says nothing, and whoever waits for it works on nothing meanwhile. */
export const CONSUMER_PATIENCE_MS = 10_000
const WORK_MS = 1200
const LEASE_MS = 1500

export class PullConsumer {
  readonly #name: string
  readonly #queue: string
  readonly #parts: ConsumerParts
  #connection: GatewayConnection | undefined
  #settlements: Record<string, unknown>[] = []

  constructor(name: string, queue: string, parts: ConsumerParts) {
    this.#name = name
    this.#queue = queue
    this.#parts = parts
  }

  async run(): Promise<void> {
    const { world, random, over } = this.#parts
    while (!over()) {
      const settlements = this.#settlements.splice(0)
      const wait = random.pick(['0s', '1s', '5s'])
      const asked = { max: 1 + random.integer(3), wait, lease: `${LEASE_MS}ms`, consumer: this.#name }
      const outcome = await this.#ask('receive', settlements.length === 0 ? asked : { ...asked, settlements })
      const jobs = outcome.kind === 'answer' && outcome.status === 200 ? read(outcome).jobs : undefined
      for (const job of jobs ?? []) await this.#work(job)
      if (jobs === undefined || jobs.length === 0) await world.sleep(100 + random.integer(700))
    }
    this.#connection?.leave()
  }

  async #work(job: ReceivedJob): Promise<void> {
    const { world, facts, random, lateness, calm, received } = this.#parts
    const { id, fence, attempt, target, receipt } = job
    const tag = Number(target.split('/')[2])
    const run = facts.addRun({ tag, server: this.#name, at: world.now, link: undefined, job: { id, attempt, fence, queue: this.#queue } })
    world.history.log(`consumer ${this.#name} gets ${target} (job ${id} attempt ${attempt} fence ${fence}) as run ${run.id}`)
    received(run, target, job.base64 === undefined ? Buffer.from(job.text ?? '') : Buffer.from(job.base64, 'base64'))
    await world.sleep(random.integer(calm() ? WORK_MS / 12 : WORK_MS))
    const chance = calm() ? 1 : random.unit()
    if (chance < 0.05) return world.history.log(`consumer ${this.#name} forgets run ${run.id}`)
    const late = 0.05 + lateness
    // Longer than its lease lasts.
    if (chance < late) await world.sleep(LEASE_MS + random.integer(2000))
    if (chance >= late && chance < late + 0.08) await this.#ask('extend', { receipts: [receipt], lease: `${LEASE_MS}ms` })
    const settlement = this.#settlement(run, receipt, chance)
    world.history.log(`consumer ${this.#name} settles run ${run.id}: ${String(settlement['outcome'])}`)
    if (random.chance(0.3)) this.#settlements.push(settlement)
    else await this.#ask('settle', { settlements: [settlement] })
  }

  #settlement(run: Run, receipt: string, chance: number): Record<string, unknown> {
    if (chance < 0.3) return { receipt, outcome: 'retry', after: '100ms', reason: 'simulated' }
    if (chance < 0.38) return { receipt, outcome: 'release' }
    if (chance < 0.42) return { receipt, outcome: 'fail', reason: 'simulated' }
    const text = JSON.stringify({ tag: run.tag, run: run.id })
    run.answer = { status: 200, body: text, whole: true }
    return { receipt, outcome: 'succeed', result: { text, headers: { 'X-Run': String(run.id) } } }
  }

  async #ask(action: string, body: unknown): Promise<Outcome> {
    const { world, network, gatewayAddress, random, calm } = this.#parts
    if (this.#connection === undefined || this.#connection.over) this.#connection = new GatewayConnection(world, network, gatewayAddress)
    const connection = this.#connection
    if (!calm() && random.chance(0.03)) world.after(random.integer(2000), () => connection.over || connection.leave())
    const target = `/_spillway/api/queues/${this.#queue}/${action}`
    const outcome = await connection.ask({
      method: 'POST',
      target,
      headers: API_HEADERS,
      body: Buffer.from(JSON.stringify(body)),
      timeoutMs: CONSUMER_PATIENCE_MS,
    })
    const wrong = outcome.kind === 'answer' && outcome.status >= 400 && outcome.status !== 503
    world.history.check(!wrong, 'answers make sense', () => `${target} is answered ${wrong ? outcome.message.body.toString() : ''}`)
    return outcome
  }
}

function read(outcome: Outcome & { readonly kind: 'answer' }): { readonly jobs?: readonly ReceivedJob[] } {
  return JSON.parse(outcome.message.body.toString('utf8')) as { readonly jobs?: readonly ReceivedJob[] }
}
