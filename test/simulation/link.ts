/**
 * One connection between a gateway's process and the world outside: two directions of bytes in order, and what the network does to them.
 * What has arrived and is not read stays at the receiver, and when that is full, at the sender.
 */
import type { SeededRandom } from '../support/seeded-random.ts'
import type { SimSocket } from './socket.ts'
import type { Process, World } from './world.ts'

export interface Weather {
  delayMinMs: number
  delaySpreadMs: number
  /** Chance that a packet takes much longer. */
  late: number
  lateMs: number
  /** Chance that written bytes arrive in several pieces. */
  split: number
}

export interface PeerHandlers {
  onConnect?: () => void
  onData?: (bytes: Buffer) => void
  onEnd?: () => void
  /** The connection is gone: reset, or refused. */
  onReset?: (reason: string) => void
}

/** The end that a client or a server holds. */
export interface PeerEnd {
  handlers: PeerHandlers
  readonly link: Link
  send(bytes: Buffer | string): void
  end(): void
  reset(): void
}

export interface LinkParts {
  readonly world: World
  readonly process: Process | undefined
  readonly address: string
  readonly weather: Weather
  readonly random: SeededRandom
}

type Packet = { readonly bytes: Buffer } | { readonly flag: 'end' | 'reset' }

/** Bytes on their way or unread at the receiver; with more, the sender waits. */
const WINDOW_BYTES = 64 * 1024
/** So many pieces at most. */
const PIECES_MAX = 4

export class Link {
  readonly address: string
  readonly process: Process | undefined
  readonly peer: PeerEnd
  gateway: SimSocket | undefined
  onGone: () => void = () => undefined
  readonly #parts: LinkParts
  /** Arrived at the gateway's machine, not read yet. */
  readonly #inbox: Packet[] = []
  #toGatewayAt = 0
  #toPeerAt = 0
  #unread = 0
  #blockedWrite: (() => void) | undefined
  /** While the network is cut: what should have arrived. */
  #limbo: (() => void)[] = []
  #cut = false
  #lost = false
  #pumpPlanned = false
  /** Bytes sent to the gateway that it has not read. */
  #onTheWay = 0
  #gatewayClosed = false
  #peerClosed = false
  #resetPeerPlanned = false

  constructor(parts: LinkParts) {
    this.#parts = parts
    this.process = parts.process
    this.address = parts.address
    this.peer = {
      handlers: {},
      link: this,
      send: (bytes) => this.#fromPeer(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes),
      end: () => this.#flagFromPeer('end'),
      reset: () => this.#flagFromPeer('reset'),
    }
  }

  get isCut(): boolean {
    return this.#cut || this.#lost
  }

  /** As the gateway sees it. */
  get gatewayOpen(): boolean {
    return this.gateway !== undefined && !this.gateway.destroyed
  }

  /** Everything that was sent to the gateway has been read there. */
  get gatewayHasAll(): boolean {
    return this.#onTheWay === 0
  }

  /** Nothing arrives before the connection is made. */
  openFrom(at: number): void {
    this.#toGatewayAt = at
    this.#toPeerAt = at
  }

  // --- from the gateway

  /** `taken` is called when the kernel has room for the next. */
  write(bytes: Buffer, taken: () => void): void {
    this.#unread += bytes.length
    for (const piece of this.#pieces(bytes)) this.#toPeer(() => this.#arrivedAtPeer(piece))
    if (this.#unread <= WINDOW_BYTES) taken()
    else this.#blockedWrite = taken
  }

  endFromGateway(): void {
    this.#toPeer(() => this.peer.handlers.onEnd?.())
  }

  /** The gateway's end is closed: an orderly end if all was read, else a reset. */
  closedByGateway(how: { readonly reset: boolean; readonly ended: boolean }): void {
    if (this.#gatewayClosed) return
    this.#gatewayClosed = true
    this.#blockedWrite = undefined
    if (how.reset || this.#inbox.length > 0) this.resetPeer()
    else if (!how.ended) this.endFromGateway()
    this.#goneIfBoth()
  }

  resetPeer(): void {
    this.#gatewayClosed = true
    if (this.#resetPeerPlanned || this.#peerClosed) return
    this.#resetPeerPlanned = true
    this.#toPeer(() => {
      this.#peerClosed = true
      this.peer.handlers.onReset?.('reset')
      this.#goneIfBoth()
    })
  }

  /** The gateway's end wants to read. */
  wanted(): void {
    if (this.#inbox.length > 0) this.#planPump()
  }

  /** The peer does not read for a while. */
  stallPeer(forMs: number): void {
    this.#toPeerAt = Math.max(this.#toPeerAt, this.#parts.world.now + forMs)
  }

  // --- the weather

  cut(): void {
    this.#cut = true
  }

  heal(): void {
    if (!this.#cut) return
    this.#cut = false
    for (const arrive of this.#limbo.splice(0)) this.#parts.world.after(0, arrive)
  }

  /** The other machine is gone and says nothing any more. */
  lose(): void {
    this.#lost = true
    this.#limbo = []
  }

  // --- ways

  #fromPeer(bytes: Buffer): void {
    if (this.#peerClosed || bytes.length === 0) return
    this.#onTheWay += bytes.length
    for (const piece of this.#pieces(bytes)) this.#toGateway({ bytes: piece })
  }

  #flagFromPeer(flag: 'end' | 'reset'): void {
    if (this.#peerClosed) return
    if (flag === 'reset') this.#peerClosed = true
    this.#toGateway({ flag })
    this.#goneIfBoth()
  }

  #toGateway(packet: Packet): void {
    const { world, process } = this.#parts
    if (process === undefined) return
    this.#toGatewayAt = Math.max(this.#toGatewayAt, world.now + this.#delay())
    const arrive = (): void => {
      if (this.#stopped(arrive)) return
      // A socket that is closed answers what still comes with a reset.
      if (this.#gatewayClosed) return this.resetPeer()
      this.#inbox.push(packet)
      this.#planPump()
    }
    world.at(this.#toGatewayAt, arrive)
  }

  #toPeer(fn: () => void): void {
    const { world } = this.#parts
    this.#toPeerAt = Math.max(this.#toPeerAt, world.now + this.#delay())
    const arrive = (): void => {
      if (!this.#stopped(arrive)) fn()
    }
    world.at(this.#toPeerAt, arrive)
  }

  /** The network does not let it through now. */
  #stopped(arrive: () => void): boolean {
    if (this.#lost) return true
    if (this.#cut) this.#limbo.push(arrive)
    return this.#cut
  }

  #arrivedAtPeer(bytes: Buffer): void {
    this.#unread -= bytes.length
    const { world, process } = this.#parts
    if (this.#unread <= WINDOW_BYTES / 2 && this.#blockedWrite !== undefined && process !== undefined) {
      const taken = this.#blockedWrite
      this.#blockedWrite = undefined
      world.deliver(process, 0, taken)
    }
    if (!this.#peerClosed) this.peer.handlers.onData?.(bytes)
  }

  #planPump(): void {
    const { world, process } = this.#parts
    if (this.#pumpPlanned || process === undefined) return
    this.#pumpPlanned = true
    world.deliver(process, 0, () => {
      this.#pumpPlanned = false
      this.#pump()
    })
  }

  /** One packet for each turn of the event loop, like one read of the kernel. */
  #pump(): void {
    const packet = this.#inbox[0]
    const { gateway } = this
    if (packet === undefined || gateway === undefined || gateway.destroyed) return
    if ('flag' in packet) {
      if (packet.flag === 'end' && !gateway.reading) return
      this.#inbox.shift()
      if (packet.flag === 'end') gateway.received(undefined)
      else {
        this.#gatewayClosed = true
        gateway.broken('ECONNRESET')
      }
    } else {
      if (!gateway.reading) return
      this.#inbox.shift()
      const taken = gateway.received(packet.bytes)
      this.#onTheWay -= taken
      if (taken < packet.bytes.length) this.#inbox.unshift({ bytes: packet.bytes.subarray(taken) })
    }
    if (this.#inbox.length > 0) this.#planPump()
  }

  #pieces(bytes: Buffer): Buffer[] {
    const { random, weather } = this.#parts
    if (bytes.length < 2 || !random.chance(weather.split)) return [bytes]
    const cuts = Array.from({ length: 1 + random.integer(PIECES_MAX - 1) }, () => 1 + random.integer(bytes.length - 1))
    const sorted = [...new Set([0, ...cuts, bytes.length])].toSorted((a, b) => a - b)
    return sorted.slice(1).map((end, i) => bytes.subarray(sorted[i] as number, end))
  }

  #delay(): number {
    const { random, weather } = this.#parts
    const late = weather.late > 0 && random.chance(weather.late) ? random.unit() * weather.lateMs : 0
    return weather.delayMinMs + random.unit() * weather.delaySpreadMs + late
  }

  #goneIfBoth(): void {
    if (this.#gatewayClosed && this.#peerClosed) this.onGone()
  }
}
