/**
 * A network of the simulation's own: bytes travel with delay and in pieces, connections are refused, reset, cut for a while or for good.
 * The gateway's ends are streams like those of `node:net`, reads into a caller's buffer included; clients and servers hold the plain other ends.
 */
import type { ListeningSocket, ListenOptions, Network, NetworkSocket } from '../../src/ports/network.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { Link, type PeerEnd, type Weather } from './link.ts'
import { SimSocket } from './socket.ts'
import type { Process, World } from './world.ts'

export interface SimHost {
  accept(peer: PeerEnd): void
}

interface Listening {
  readonly process: Process
  readonly onConnection: (socket: NetworkSocket) => void
}

export class SimNetwork {
  readonly weather: Weather
  readonly #world: World
  readonly #random: SeededRandom
  readonly #hosts = new Map<string, SimHost>()
  readonly #listeners = new Map<string, Listening>()
  /** Cut off: nothing gets in or out. */
  readonly #cut = new Set<string>()
  readonly #links = new Set<Link>()
  #ports = 40_000

  constructor(world: World, weather: Weather) {
    this.#world = world
    this.weather = weather
    this.#random = world.stream(1)
  }

  /** The port `Network` as one process has it. */
  of(process: Process): Network {
    return {
      connect: (options) => {
        const { host, port, allowHalfOpen, onread } = options
        const link = this.#link(process, `${host}:${port}`)
        const socket = new SimSocket(link, { allowHalfOpen: allowHalfOpen === true, onread })
        link.gateway = socket
        this.#connect(link, socket)
        return socket
      },
      listen: async (options, onConnection) => this.#listen(process, options, onConnection),
    }
  }

  /** A server listens. */
  up(address: string, host: SimHost): void {
    this.#hosts.set(address, host)
  }

  /** It listens no more; its connections are reset, or it vanished and nobody says so. */
  down(address: string, silently: boolean): void {
    this.#hosts.delete(address)
    for (const link of this.#links) {
      if (link.address !== address) continue
      if (silently) link.lose()
      else link.peer.reset()
    }
  }

  cutOff(address: string): void {
    this.#cut.add(address)
    for (const link of this.#links) if (link.address === address) link.cut()
  }

  /** What was under way comes through. */
  rejoin(address: string): void {
    this.#cut.delete(address)
    for (const link of this.#links) if (link.address === address) link.heal()
  }

  /** All connections of a killed process end: with a reset from the kernel, or, with its machine, without a word. */
  kill(process: Process, silently: boolean): void {
    for (const [address, listening] of this.#listeners) if (listening.process === process) this.#listeners.delete(address)
    for (const link of this.#links) {
      if (link.process !== process) continue
      if (silently) link.lose()
      else link.resetPeer()
      this.#links.delete(link)
    }
  }

  /** A client connects to a gateway. */
  connect(address: string, handlers: PeerEnd['handlers']): PeerEnd {
    const listening = this.#listeners.get(address)
    const link = this.#link(listening?.process, address)
    link.peer.handlers = handlers
    const delay = this.#delay()
    link.openFrom(this.#world.now + delay)
    this.#world.after(delay, () => {
      if (listening === undefined || !listening.process.alive || this.#listeners.get(address) !== listening)
        return handlers.onReset?.('refused')
      const { process, onConnection } = listening
      this.#world.deliver(process, 0, () => {
        const socket = new SimSocket(link, { allowHalfOpen: true, onread: undefined })
        socket.remoteAddress = '10.0.9.9'
        socket.remotePort = ++this.#ports
        link.gateway = socket
        socket.established()
        onConnection(socket)
      })
      handlers.onConnect?.()
    })
    return link.peer
  }

  /** Open connections of a process, as the process sees it. */
  open(process: Process): readonly Link[] {
    return [...this.#links].filter((link) => link.process === process && link.gatewayOpen)
  }

  #connect(link: Link, socket: SimSocket): void {
    const { address } = link
    if (this.#cut.has(address)) return link.cut()
    const delay = this.#delay()
    const process = link.process as Process
    link.openFrom(this.#world.now + delay)
    this.#world.after(delay, () => {
      if (link.isCut || !link.gatewayOpen) return
      const host = this.#hosts.get(address)
      if (host === undefined) return void this.#world.deliver(process, delay, () => socket.refused())
      // The server accepts a moment before the client's end hears of it.
      host.accept(link.peer)
      this.#world.deliver(process, delay, () => socket.established())
    })
  }

  #listen(process: Process, options: ListenOptions, onConnection: (socket: NetworkSocket) => void): ListeningSocket {
    const address = `${options.host}:${options.port}`
    if (this.#listeners.has(address)) throw Object.assign(new Error(`listen EADDRINUSE ${address}`), { code: 'EADDRINUSE' })
    const listening = { process, onConnection }
    this.#listeners.set(address, listening)
    return {
      address: { host: options.host, port: options.port },
      close: () => {
        if (this.#listeners.get(address) === listening) this.#listeners.delete(address)
      },
    }
  }

  #link(process: Process | undefined, address: string): Link {
    const link = new Link({ world: this.#world, process, address, weather: this.weather, random: this.#random })
    this.#links.add(link)
    link.onGone = () => void this.#links.delete(link)
    return link
  }

  #delay(): number {
    return this.weather.delayMinMs + this.#random.unit() * this.weather.delaySpreadMs
  }
}
