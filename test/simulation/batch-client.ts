/** A client of the simulation that sends a batch, and follows it until it has ended and everything in it with it. */
import type { SeededRandom } from '../support/seeded-random.ts'
import { type Asked, GatewayConnection, type Outcome } from './exchange.ts'
import { type Facts, newIntent, type RouteKind } from './facts.ts'
import type { SimNetwork } from './network.ts'
import type { World } from './world.ts'

export interface BatchClientParts {
  readonly world: World
  readonly network: SimNetwork
  readonly facts: Facts
  readonly random: SeededRandom
  readonly gatewayAddress: string
  readonly keys: number
  readonly unsteady: () => boolean
}

interface Document {
  readonly id: string
  readonly status: string
  readonly total: number
  readonly counts: Readonly<Record<string, number>>
  readonly finishedAt?: string
}

const PATIENCE_MS = 60_000
const SENDS_MAX = 15
const REQUESTS_MAX = 12
/** What says that nothing of it was taken. */
const REFUSED = new Set(['queue_full', 'too_many_batches', 'batch_refused', 'buffers_full'])

export class BatchClient {
  readonly #parts: BatchClientParts
  /** Its requests are this one and those that follow. */
  readonly #tag: number
  readonly #total: number
  readonly #idempotencyKey: string | undefined
  readonly #body: Buffer
  #id: string | undefined
  #self: string | undefined
  #ended: Document | undefined

  constructor(parts: BatchClientParts, tag: number) {
    this.#parts = parts
    this.#tag = tag
    const { random } = parts
    this.#total = 1 + random.integer(REQUESTS_MAX)
    this.#idempotencyKey = random.chance(0.6) ? `b${tag}` : undefined
    const requests = Array.from({ length: this.#total }, (_, i) => this.#request(tag + i))
    this.#body = Buffer.from(JSON.stringify({ reference: `batch ${tag}`, requests }))
  }

  async run(): Promise<void> {
    const { world, random, unsteady } = this.#parts
    const sendsMax = this.#idempotencyKey === undefined ? 1 : SENDS_MAX
    for (let sends = 0; sends < sendsMax && (this.#self === undefined || (unsteady() && random.chance(0.3))); sends++) {
      await this.#send()
      await world.sleep(200 + random.integer(2000))
    }
    while (this.#self !== undefined && this.#ended === undefined) {
      await this.#look(this.#self)
      await world.sleep(300 + random.integer(3000))
    }
    // What has ended stays so.
    if (this.#self !== undefined) await this.#look(this.#self)
  }

  #request(tag: number): Record<string, unknown> {
    const { random, facts, keys } = this.#parts
    const route: RouteKind = random.pick(['queue', 'queue', 'held', 'spill'])
    const method = random.pick(['POST', 'PUT'] as const)
    const body = Buffer.concat([Buffer.from(`${tag}:`), random.bytes(random.integer(60))])
    const key = random.chance(0.5) ? `k${random.integer(keys)}` : undefined
    const delayMs = random.chance(0.1) ? random.integer(3000) : 0
    facts.intents.set(tag, newIntent({ tag, route, method, body, key, idempotencyKey: undefined, delayMs, priority: 0 }))
    const headers = { ...(key !== undefined && { 'X-Key': key }), ...(delayMs > 0 && { 'Spillway-Delay': `${delayMs}ms` }) }
    return { method, target: `/${route}/${tag}`, base64: body.toString('base64'), headers }
  }

  async #send(): Promise<void> {
    const { world, facts } = this.#parts
    const headers = [['Content-Type', 'application/json'] as const]
    if (this.#idempotencyKey !== undefined) headers.push(['Idempotency-Key', this.#idempotencyKey] as never)
    world.history.log(`batch client ${this.#tag} sends ${this.#total} requests ${this.#idempotencyKey ?? ''}`)
    const outcome = await this.#ask({ method: 'POST', target: '/_spillway/batches', headers, body: this.#body, timeoutMs: PATIENCE_MS })
    if (outcome.kind === 'broken') return
    const { status, message } = outcome
    const document = parse(message.body)
    world.history.log(`batch client ${this.#tag} is answered ${status} ${String(document['code'] ?? document['id'])}`)
    if (status === 202) {
      this.#self = message.headers.get('location')
      return this.#sees(document as unknown as Document)
    }
    world.history.check(
      status === 503 || status === 413,
      'answers make sense',
      () => `batch ${this.#tag}: ${status} ${message.body.toString()}`,
    )
    if (this.#idempotencyKey !== undefined || !REFUSED.has(String(document['code']))) return
    for (let i = 0; i < this.#total; i++) Object.assign(facts.intents.get(this.#tag + i) ?? {}, { nothingDone: true })
  }

  async #look(self: string): Promise<void> {
    const { random, unsteady } = this.#parts
    const chance = random.unit()
    if (chance < 0.3) return this.#follow(`${self}/events`)
    if (chance < 0.4) return this.#page(self)
    const method = unsteady() && chance > 0.95 ? 'DELETE' : 'GET'
    const outcome = await this.#ask({ method, target: random.chance(0.5) ? `${self}?wait=3s` : self, timeoutMs: PATIENCE_MS })
    if (outcome.kind === 'broken') return
    if (outcome.status === 200) return this.#sees(parse(outcome.message.body) as unknown as Document)
    this.#checkKept(outcome.status)
  }

  async #follow(target: string): Promise<void> {
    let rest = ''
    const onPart = (part: Buffer): void => {
      const lines = (rest + part.toString('utf8')).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const document = parse(Buffer.from(line))
        if (document['id'] !== undefined) this.#sees(document as unknown as Document)
      }
    }
    const headers = [['Accept', 'application/x-ndjson'] as const]
    const outcome = await this.#ask({ method: 'GET', target, headers, timeoutMs: PATIENCE_MS, onPart })
    if (outcome.kind === 'answer' && outcome.status !== 200) this.#checkKept(outcome.status)
  }

  async #page(self: string): Promise<void> {
    const outcome = await this.#ask({ method: 'GET', target: `${self}/jobs?max=1000`, timeoutMs: PATIENCE_MS })
    if (outcome.kind === 'broken') return
    if (outcome.status !== 200) return this.#checkKept(outcome.status)
    const { jobs } = parse(outcome.message.body) as unknown as { readonly jobs: readonly unknown[] }
    this.#parts.world.history.check(jobs.length === this.#total, 'a batch is taken as a whole', () => `${this.#id}: ${jobs.length} jobs`)
  }

  /** Nobody waits so long that it could have been forgotten. */
  #checkKept(status: number): void {
    this.#parts.world.history.check(status === 503, 'a batch is kept', () => `${this.#id} is answered ${status}`)
  }

  #sees(document: Document): void {
    const { history } = this.#parts.world
    const { id, status, total, counts, finishedAt } = document
    this.#id ??= id
    history.check(this.#id === id, 'one batch per idempotency key', () => `${this.#tag} has ${this.#id} and ${id}`)
    const sum = Object.values(counts).reduce((all, count) => all + count, 0)
    history.check(sum === total && total === this.#total, 'counts of a batch are all its jobs', () => `${id}: ${JSON.stringify(document)}`)
    const open = (counts['queued'] ?? 0) + (counts['running'] ?? 0) + (counts['retrying'] ?? 0)
    history.check(
      (status === 'ended') === (open === 0),
      'a batch ends when each of its jobs has ended',
      () => `${id}: ${JSON.stringify(document)}`,
    )
    const before = this.#ended
    const same = before === undefined || (status === 'ended' && finishedAt === before.finishedAt)
    history.check(same, 'the end of a batch is an end', () => `${id} ended ${before?.finishedAt}, and is ${status} ${finishedAt}`)
    if (status === 'ended') this.#ended = document
  }

  async #ask(asked: Asked): Promise<Outcome> {
    const { world, network, gatewayAddress, random, unsteady } = this.#parts
    const connection = new GatewayConnection(world, network, gatewayAddress)
    if (unsteady() && random.chance(0.06)) world.after(random.integer(3000), () => connection.over || connection.leave())
    const outcome = await connection.ask(asked)
    connection.leave()
    return outcome
  }
}

function parse(body: Buffer): Record<string, unknown> {
  try {
    return JSON.parse(body.toString('utf8')) as Record<string, unknown>
  } catch {
    return {}
  }
}
