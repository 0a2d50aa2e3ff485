/**
 * A receiver of webhooks: takes them, refuses, hangs, breaks off, dies, wants no more. It believes no signature that it has not checked itself, and
 * remembers what came under which id.
 */
import { createHmac } from 'node:crypto'
import { Agent, type AgentOptions } from 'node:http'
import type { Network } from '../../src/ports/network.ts'
import type { WebhookAgents } from '../../src/webhooks/sender.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { HttpReader, type Message } from './http-reader.ts'
import type { PeerEnd } from './link.ts'
import type { SimHost, SimNetwork } from './network.ts'
import type { World } from './world.ts'

/** Chances of what a webhook may meet; what is left is taken. */
export interface Manners {
  readonly refuse: number
  readonly overloaded: number
  readonly gone: number
  readonly hang: number
  readonly reset: number
  readonly truncate: number
  readonly workMsMax: number
}

export const GOOD_MANNERS: Manners = { refuse: 0, overloaded: 0, gone: 0, hang: 0, reset: 0, truncate: 0, workMsMax: 20 }

export interface ReceiverParts {
  readonly world: World
  readonly network: SimNetwork
  readonly random: SeededRandom
  readonly secret: string
  /** `taken`: it has been answered with 2xx, to the end. */
  readonly received: (id: string, body: Buffer, taken: boolean) => void
}

export class Receiver implements SimHost {
  readonly address: string
  manners: Manners
  readonly #parts: ReceiverParts
  readonly #peers = new Set<PeerEnd>()
  #up = true

  constructor(address: string, manners: Manners, parts: ReceiverParts) {
    this.address = address
    this.manners = manners
    this.#parts = parts
    parts.network.up(address, this)
  }

  die(silently: boolean): void {
    if (!this.#up) return
    this.#up = false
    this.#parts.network.down(this.address, silently)
    this.#peers.clear()
  }

  comeBack(): void {
    if (this.#up) return
    this.#up = true
    this.#parts.network.up(this.address, this)
  }

  accept(peer: PeerEnd): void {
    this.#peers.add(peer)
    const reader = new HttpReader('server', { message: (message) => this.#received(message, peer) })
    const gone = (): void => void this.#peers.delete(peer)
    peer.handlers = {
      onData: (bytes) => reader.feed(bytes),
      onEnd: () => {
        gone()
        peer.end()
      },
      onReset: gone,
    }
  }

  #received(message: Message, peer: PeerEnd): void {
    const { world, random, received } = this.#parts
    const id = message.headers.get('webhook-id') ?? ''
    world.history.log(`receiver ${this.address} gets ${id}`)
    world.history.check(this.#isSigned(id, message), 'webhooks are signed', () => `${id} is not signed as it should be`)
    received(id, message.body, false)
    if (random.chance(this.manners.hang)) return
    world.after(1 + random.integer(this.manners.workMsMax), () => {
      if (this.#peers.has(peer)) this.#answer(id, message, peer)
    })
  }

  #answer(id: string, { body }: Message, peer: PeerEnd): void {
    const { world, random, received } = this.#parts
    const status = this.#status()
    world.history.log(`receiver ${this.address} answers ${id}: ${status}`)
    const text = `HTTP/1.1 ${status} Simulated\r\n${status === 204 ? '\r\n' : 'Content-Length: 2\r\n\r\nok'}`
    const broken = random.chance(this.manners.truncate)
    peer.send(broken ? text.slice(0, -1) : text)
    if (status < 300 && !broken) received(id, body, true)
    if (broken) peer.end()
    else if (random.chance(this.manners.reset)) peer.reset()
  }

  #status(): number {
    const { random } = this.#parts
    if (random.chance(this.manners.refuse)) return random.pick([500, 503, 400, 302])
    if (random.chance(this.manners.overloaded)) return 429
    return random.chance(this.manners.gone) ? 410 : random.pick([200, 201, 204])
  }

  #isSigned(id: string, { headers, body }: Message): boolean {
    const { world, secret } = this.#parts
    const timestamp = headers.get('webhook-timestamp') ?? ''
    const key = Buffer.from(secret.slice('whsec_'.length), 'base64')
    const signature = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64')
    // The packet may have been late, and the clock may have jumped meanwhile.
    const isNow = Math.abs(Number(timestamp) * 1000 - world.wall) < JUMP_MS
    return headers.get('webhook-signature') === `v1,${signature}` && isNow
  }
}

const JUMP_MS = 4_000_000

/** What node:http asks of a socket beside its bytes; idle ones are closed by nobody. */
const NO_HANDLE = { setKeepAlive: () => undefined, setNoDelay: () => undefined, setTimeout: () => undefined, ref() {}, unref() {} }

class SimAgent extends Agent {
  readonly #network: Network

  constructor(network: Network, options: AgentOptions) {
    super(options)
    this.#network = network
  }

  override createConnection(options: {
    readonly host?: string | null
    readonly port?: number | string | null
  }): ReturnType<Network['connect']> {
    const socket = this.#network.connect({ host: options.host ?? '', port: Number(options.port), noDelay: true })
    return Object.assign(socket, NO_HANDLE)
  }
}

/** Webhooks of one process go over the simulated network, by node:http as ever. */
export function agentsOver(network: Network): (options: AgentOptions) => WebhookAgents {
  return (options) => {
    const agent = new SimAgent(network, options)
    return { 'http:': agent, 'https:': agent as unknown as WebhookAgents['https:'] }
  }
}
