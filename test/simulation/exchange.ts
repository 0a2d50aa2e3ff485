/** A connection from outside to a gateway, for one exchange after another. Whoever asks gets an answer or hears that there will be none. */
import { HttpReader, type Message, statusOf } from './http-reader.ts'
import type { PeerEnd } from './link.ts'
import type { SimNetwork } from './network.ts'
import type { Process, World } from './world.ts'

export type Outcome =
  | { readonly kind: 'answer'; readonly status: number; readonly message: Message }
  /** `head`: the answer had begun. */
  | { readonly kind: 'broken'; readonly reason: string; readonly head: Message | undefined }

export interface Asked {
  readonly method: string
  readonly target: string
  readonly headers?: readonly (readonly [string, string])[]
  readonly body?: Buffer
  readonly chunked?: boolean
  readonly timeoutMs: number
  onHead?(message: Message): void
  onPart?(part: Buffer): void
}

/** Whoever has them may do everything with every queue. */
export const API_TOKEN = 'simulated-token'
export const API_HEADERS = [
  ['Authorization', `Bearer ${API_TOKEN}`],
  ['Content-Type', 'application/json'],
] as const

export class GatewayConnection {
  readonly #world: World
  readonly #peer: PeerEnd
  readonly #reader: HttpReader
  vanished = false
  stalled = false
  /** By this side. */
  left = false
  #asked: Asked | undefined
  #head: Message | undefined
  #settle: ((outcome: Outcome) => void) | undefined
  #over = false

  constructor(world: World, network: SimNetwork, address: string) {
    this.#world = world
    this.#reader = new HttpReader('client', {
      head: (message) => {
        this.#head = message
        this.#asked?.onHead?.(message)
      },
      part: (_, part) => this.#asked?.onPart?.(part),
      message: (message) => this.#answered(message),
    })
    this.#peer = network.connect(address, {
      onData: (bytes) => {
        this.#reader.feed(bytes)
        if (this.#reader.broken) this.#broke('not HTTP')
      },
      onEnd: () => {
        if (this.#reader.end()) this.#broke('closed')
        else this.#broke('closed in the middle')
        this.#peer.end()
      },
      onReset: (reason) => this.#broke(reason),
    })
  }

  /** The process at the other end; undefined: nobody listened. */
  get process(): Process | undefined {
    return this.#peer.link.process
  }

  /** It can serve no more. */
  get over(): boolean {
    return this.#over
  }

  ask(asked: Asked): Promise<Outcome> {
    this.#asked = asked
    this.#head = undefined
    const answered = new Promise<Outcome>((resolve) => {
      this.#settle = resolve
    })
    if (this.#over) {
      this.#broke('closed')
      return answered
    }
    const timer = this.#world.after(asked.timeoutMs, () => {
      this.leave()
      this.#broke('no answer in time')
    })
    this.#send(asked)
    return answered.then((outcome) => {
      timer.cancel()
      return outcome
    })
  }

  leave(): void {
    this.#over = true
    this.left = true
    this.#peer.reset()
    this.#broke('left')
  }

  /** Reads nothing for a while. */
  stall(forMs: number): void {
    this.stalled = true
    this.#peer.link.stallPeer(forMs)
  }

  /** From now on nothing comes or goes, and nobody says so. */
  vanish(): void {
    this.vanished = true
    this.#peer.link.lose()
  }

  #send(asked: Asked): void {
    const { method, target, headers = [], body, chunked } = asked
    const lines = [`${method} ${target} HTTP/1.1`, 'Host: gateway.example', ...headers.map(([name, value]) => `${name}: ${value}`)]
    if (body === undefined) return this.#peer.send(`${lines.join('\r\n')}\r\n\r\n`)
    lines.push(chunked === true ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`)
    this.#peer.send(`${lines.join('\r\n')}\r\n\r\n`)
    if (chunked !== true) return this.#peer.send(body)
    const half = body.length >> 1
    for (const part of [body.subarray(0, half), body.subarray(half)]) {
      if (part.length > 0) this.#peer.send(Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n')]))
    }
    this.#peer.send('0\r\n\r\n')
  }

  #answered(message: Message): void {
    if (message.headers.get('connection') === 'close') this.#over = true
    this.#finish({ kind: 'answer', status: statusOf(message), message })
  }

  #broke(reason: string): void {
    this.#over = true
    this.#finish({ kind: 'broken', reason, head: this.#head })
  }

  #finish(outcome: Outcome): void {
    const settle = this.#settle
    this.#settle = undefined
    this.#asked = undefined
    settle?.(outcome)
  }
}
