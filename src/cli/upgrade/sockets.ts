/**
 * What this process listens on, so that its successor can be given it; and what it was given itself, by a process whose successor it is or by
 * a supervisor that binds addresses for it (systemd's socket activation). A socket that is passed on goes on listening: who connects while
 * nobody accepts waits in the kernel, and is not refused.
 */
import { closeSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { ADMIN_BACKLOG } from '../../admin/admin.ts'
import type { HostPort } from '../../config/config.ts'
import { hostPortText } from '../../lib/host-port.ts'
import type { ListeningSocket, ListenOptions, Network } from '../../ports/network.ts'
import { listenWith, systemNetwork } from '../../ports/system.ts'

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

  /** As they are now, in the order in which they were opened. */
  get bound(): readonly BoundSocket[] {
    return this.#open.flatMap(({ address, server }) => {
      const fd = descriptorOf(server)
      return server.listening && fd !== undefined ? [{ address, fd }] : []
    })
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
    const at = this.#given.findIndex((given) => given.address === address)
    const [given] = at < 0 ? [] : this.#given.splice(at, 1)
    const listening = await listenWith(server, given === undefined ? options : { ...options, fd: given.fd })
    this.#open.push({ address, server })
    return listening
  }
}

/** Node has no documented name for it, but this one since its first versions; where it is missing, addresses are bound anew. */
function descriptorOf(server: Server): number | undefined {
  const { _handle: handle } = server as unknown as { readonly _handle?: { readonly fd?: number } | null }
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined
}
