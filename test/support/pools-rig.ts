/** The whole gateway in front of several pools, whose servers answer with their own name: `a0`, `a1`, `b0`. */
import type { PoolStatus } from '../../src/admin/status.ts'
import type { Config, PoolConfig, RouteConfig } from '../../src/config/config.ts'
import { type GatewayRig, startGatewayRig } from './gateway-rig.ts'
import { type Asked, ask } from './http-client.ts'
import { testPool } from './test-config.ts'
import { startTestServer, type TestServer } from './test-server.ts'
import { until } from './until.ts'

export interface PoolsRig extends AsyncDisposable {
  readonly rig: GatewayRig
  readonly url: string
  /** `a0`. */
  server(name: string): TestServer
  /** Who answered, in order. */
  ask(times: number, asked?: Asked, path?: string): Promise<string[]>
  /** Kills every server of the pool, or the one server, and waits until it is known. */
  kill(...names: readonly string[]): Promise<void>
  revive(...names: readonly string[]): Promise<void>
  statuses(): Promise<readonly PoolStatus[]>
  /** Requests that reached the servers of this pool. */
  received(pool: string): number
}

export interface PoolsRigOptions {
  /** By pool. */
  readonly servers: Readonly<Record<string, number>>
  readonly pools?: Readonly<Record<string, Partial<PoolConfig>>>
  readonly routes?: readonly RouteConfig[]
  readonly config?: Partial<Config>
}

export async function startPoolsRig(options: PoolsRigOptions): Promise<PoolsRig> {
  const servers = new Map<string, TestServer>()
  const pools: PoolConfig[] = []
  for (const [pool, count] of Object.entries(options.servers)) {
    const ports: number[] = []
    for (let n = 0; n < count; n++) {
      const name = `${pool}${n}`
      const server = await startTestServer((_, response) => void response.end(name))
      servers.set(name, server)
      ports.push(server.port)
    }
    const health = { intervalMs: 50, timeoutMs: 500, fall: 1, rise: 1 }
    pools.push(testPool(pool, ports, { balance: 'round-robin', health, ...options.pools?.[pool] }))
  }
  const killAll = (): Promise<unknown> => Promise.all([...servers.values()].map((server) => server.kill()))
  const rig = await startGatewayRig([], {
    ...(options.routes && { routes: options.routes }),
    config: { queues: [], ...options.config, pools },
  }).catch(async (error: unknown) => {
    await killAll()
    throw error
  })
  const url = rig.url
  const named = (names: readonly string[]): string[] =>
    [...servers.keys()].filter((name) => names.includes(name) || names.includes(name.slice(0, -1)))
  const statuses = async (): Promise<readonly PoolStatus[]> => {
    const status = (await ask(`http://127.0.0.1:${rig.gateway.admin.port}/status`)).json() as unknown as { pools: PoolStatus[] }
    return status.pools
  }
  const untilState = async (name: string, wanted: string): Promise<void> => {
    const { port } = servers.get(name) as TestServer
    await until(`${name} is ${wanted}`, async () =>
      (await statuses()).some(({ servers: known }) => known.some((one) => one.name === `127.0.0.1:${port}` && one.state === wanted)),
    )
  }
  for (const name of servers.keys()) await untilState(name, 'up')
  return {
    rig,
    url,
    statuses,
    server: (name) => servers.get(name) as TestServer,
    async ask(times, asked, path = '/') {
      const answered: string[] = []
      for (let n = 0; n < times; n++) {
        const { status, text } = await ask(`${url}${path}`, asked)
        answered.push(status === 200 ? text : String(status))
      }
      return answered
    },
    async kill(...names) {
      await Promise.all(named(names).map((name) => (servers.get(name) as TestServer).kill()))
      for (const name of named(names)) await untilState(name, 'down')
    },
    async revive(...names) {
      await Promise.all(named(names).map((name) => (servers.get(name) as TestServer).revive()))
      for (const name of named(names)) await untilState(name, 'up')
    },
    received: (pool) => named([pool]).reduce((sum, name) => sum + (servers.get(name)?.received.length ?? 0), 0),
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await killAll()
    },
  }
}
