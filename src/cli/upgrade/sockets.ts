/**
 * What this process listens on, so that its successor can be given it; and what it was given itself, by a process whose successor it is or by
 * a supervisor that binds addresses for it (systemd's socket activation). A socket that is passed on goes on listening: who connects while
 * nobody accepts waits in the kernel, and is not refused.
 */
import { closeSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { ADMIN_BACKLOG } from '../../admin/admin.ts'
import type { HostPort } from '../../config/config.ts'
import type { WorkerSockets } from '../../gateway-options.ts'
import { hostPortText } from '../../lib/host-port.ts'
import type { ListeningSocket, ListenOptions, Network } from '../../ports/network.ts'
import { descriptorOf, listenWith, systemNetwork } from '../../ports/system.ts'

/** A file descriptor and the address that it was asked for, as the configuration had it: `127.0.0.1:0` is one, too. */
export interface BoundSocket {
  readonly address: string
  readonly fd: number
}

export class Sockets {
  readonly network: Network = { ...systemNetwork, listen: (options, on) => this.#listen(options, on) }
  readonly #given: BoundSocket[]
  readonly #open: { readonly address: string; readonly server: Server }[] = []

  constructor(given: readonly BoundSocket[]) {
    this.#given = [...given]
  }

  /** For the admin address, which stands on a server of node:http. */
  readonly listenAdmin = async (server: Server, { host, port }: HostPort): Promise<HostPort> => {
    const listening = await this.#listenWith(server, { host, port, backlog: ADMIN_BACKLOG })
    return listening.address
  }

  /** Of other threads, by address. */
  readonly workerSockets: WorkerSockets = {
    has: (address) => this.#given.some((given) => given.address === address),
    take: (address) => this.#take(address)?.fd,
    bound: () => [],
  }

  /** As they are now, in the order in which they were opened. */
  get bound(): readonly BoundSocket[] {
    const own = this.#open.flatMap(({ address, server }) => {
      const fd = descriptorOf(server)
      return server.listening && fd !== undefined ? [{ address, fd }] : []
    })
    return [...own, ...this.workerSockets.bound()]
  }

  /** The configuration has no more use for what nobody asked for: its clients hear that at once. */
  closeRest(): readonly string[] {
    const rest = this.#given.splice(0)
    for (const { fd } of rest) closeSync(fd)
    return rest.map(({ address }) => address)
  }

  #listen(options: ListenOptions, onConnection: Parameters<Network['listen']>[1]): Promise<ListeningSocket> {
    return this.#listenWith(createServer({ noDelay: true, allowHalfOpen: true }, onConnection), options)
  }

  async #listenWith(server: Server, options: ListenOptions): Promise<ListeningSocket> {
    const address = hostPortText(options)
    const given = this.#take(address)
    const listening = await listenWith(server, given === undefined ? options : { ...options, fd: given.fd })
    this.#open.push({ address, server })
    return listening
  }

  #take(address: string): BoundSocket | undefined {
    const at = this.#given.findIndex((given) => given.address === address)
    return at < 0 ? undefined : this.#given.splice(at, 1)[0]
  }
}
