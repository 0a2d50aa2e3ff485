/** The gateways that the cases run against: each the whole gateway, started when the first case asks for it, behind servers played by hand. */
import { DIRECT, type GatewayRig, type GatewayRigOptions, startGatewayRig } from '../../support/gateway-rig.ts'
import { OK, type RawConnection, type RawHandler, type RawServer, startRawServer } from '../../support/raw-server.ts'
import { testQueue, testRoute } from '../../support/test-config.ts'
import type { GatewayKind } from './case.ts'

/** What the cases go one beyond. */
export const LIMITS = { body: 3000, headers: 100, head: 32 * 1024, target: 8 * 1024 } as const

/** Broken connections are what the cases are made of: they shall not take the server out of its pool, nor shall a check do so. */
const CALM = { health: { intervalMs: 60_000, timeoutMs: 500, fall: 1000, rise: 1 } }
const SHORT_MS = 400

/** Nobody pulls: what is queued stays queued. */
const { pool: _, ...UNSERVED } = testQueue({ name: 'work', pull: true })
const JOBS = testRoute({ name: 'POST /jobs', match: { path: '/jobs', methods: ['POST'], headers: [], query: [] } })

const OPTIONS: Readonly<Record<GatewayKind, GatewayRigOptions>> = {
  plain: { limits: { body: LIMITS.body } },
  trusting: { config: { trustedPeers: ['127.0.0.0/8'] } },
  hasty: { timeouts: { headMs: SHORT_MS, bodyMs: SHORT_MS, firstByteMs: SHORT_MS, idleMs: SHORT_MS } },
  deserted: { pool: { waitMs: 50 } },
  pair: { pool: { maxInFlight: 1 } },
  full: { pool: { maxInFlight: 0, maxWaiting: 0, maxTunnels: 0 } },
  queueing: { routes: [JOBS, DIRECT], config: { queues: [UNSERVED] } },
}

export interface Received {
  readonly connection: RawConnection
  readonly head: string
}

export class CaseRig implements AsyncDisposable {
  readonly gateway: GatewayRig
  readonly #servers: readonly RawServer[]
  /** Requests since the last `clear`, in order. */
  #received: Received[] = []
  handle: RawHandler = (connection) => void connection.write(OK)

  private constructor(gateway: GatewayRig, servers: readonly RawServer[]) {
    this.gateway = gateway
    this.#servers = servers
    for (const server of servers) {
      server.handle = (connection, head) => {
        this.#received.push({ connection, head })
        return this.handle(connection, head)
      }
    }
  }

  static async start(kind: GatewayKind): Promise<CaseRig> {
    const servers = await Promise.all(Array.from({ length: kind === 'pair' ? 2 : 1 }, () => startRawServer()))
    const { pool, ...rest } = OPTIONS[kind]
    const ports = servers.map(({ port }) => port)
    const rig = new CaseRig(await startGatewayRig(ports, { ...rest, pool: { ...CALM, ...pool } }), servers)
    if (kind === 'deserted') await servers[0]?.refuse()
    return rig
  }

  get received(): readonly Received[] {
    return this.#received
  }

  /** Closes every connection to a server from that side and waits until the gateway has done the same: the next case begins with none. */
  async clear(): Promise<void> {
    for (const { connections } of this.#servers) {
      for (const connection of connections) if (!connection.closed) connection.end()
      for (const connection of connections) await connection.untilGone()
    }
    this.#received = []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway[Symbol.asyncDispose]()
    for (const server of this.#servers) await server[Symbol.asyncDispose]()
  }
}
