/** The real clock, the real randomness and the real sockets of this machine. */
import { randomFillSync } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { connect as connectTcp, createServer, type Server } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Millis } from '../lib/units.ts'
import type { Clock, Random, Timer } from './clock.ts'
import type { ConnectOptions, ListeningSocket, ListenOptions, Network, NetworkSocket, Resolver } from './network.ts'

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after,
}

/** 2^31 - 1: a longer `setTimeout` would fire at once. */
const TIMEOUT_MAX_MS: Millis = 2_147_483_647

function after(delay: Millis, fn: () => void): Timer {
  if (delay > TIMEOUT_MAX_MS) {
    let rest = after(TIMEOUT_MAX_MS, () => {
      rest = after(delay - TIMEOUT_MAX_MS, fn)
    })
    return { cancel: () => rest.cancel() }
  }
  const timer = setTimeout(fn, delay)
  timer.unref()
  return { cancel: () => clearTimeout(timer) }
}

/** Asking the system costs the same for 16 bytes as for thousands, so it is asked for many at once. */
const POOL_BYTES = 4096
let pool = Buffer.alloc(0)

export const systemRandom: Random = {
  unit: () => Math.random(),
  bytes(count) {
    if (count > POOL_BYTES) return randomFillSync(Buffer.alloc(count))
    if (pool.length < count) pool = randomFillSync(Buffer.alloc(POOL_BYTES))
    const taken = Buffer.from(pool.subarray(0, count))
    pool = pool.subarray(count)
    return taken
  },
}

export const systemNetwork: Network = { connect, listen }

export const systemResolver: Resolver = {
  async resolve(host) {
    const found = await lookup(host, { all: true })
    return found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }))
  },
}

function connect({ preamble, tls, ...options }: ConnectOptions): NetworkSocket {
  if (preamble === undefined) return tls === undefined ? connectTcp(options) : connectTls({ ...options, ...tls })
  const { onread: _, ...plain } = options
  const socket = connectTcp(plain)
  socket.write(preamble)
  return tls === undefined ? socket : connectTls({ ...tls, socket })
}

function listen(options: ListenOptions, onConnection: (socket: NetworkSocket) => void): Promise<ListeningSocket> {
  return listenWith(createServer({ noDelay: true, allowHalfOpen: true }, onConnection), options)
}

/** Who shares an address shares it with whoever does, also with another gateway that was started by mistake. Rejects then, as without sharing. */
async function expectFree(host: string, port: number): Promise<void> {
  const probe = createServer()
  await new Promise<void>((resolve, reject) => probe.once('error', reject).listen({ host, port }, resolve))
  await new Promise((resolve) => probe.close(resolve))
}

/** `fd`: a socket that was bound by somebody else, who gave it to this process. */
export async function listenWith(server: Server, options: ListenOptions & { readonly fd?: number }): Promise<ListeningSocket> {
  const { fd, host, port, backlog, shared } = options
  if (shared === 'first' && fd === undefined && port !== 0) await expectFree(host, port)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(fd === undefined ? { host, port, backlog, reusePort: shared !== undefined } : { fd, backlog }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  // Asked once, since it asks the kernel: attempts of jobs carry it.
  const bound = server.address()
  const isKnown = bound !== null && typeof bound !== 'string'
  return {
    address: isKnown ? { host: bound.address, port: bound.port } : { host: options.host, port: options.port },
    close: () => void server.close(),
  }
}

/** Node has no documented name for it, but this one since its first versions; where it is missing, addresses are bound anew. */
export function descriptorOf(server: Server): number | undefined {
  const { _handle: handle } = server as unknown as { readonly _handle?: { readonly fd?: number } | null }
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined
}
