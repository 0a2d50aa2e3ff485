/** The whole gateway in this process, wired as in production, in front of servers that a test brings. */
import type { Config, PoolConfig, RouteConfig } from '../../src/config/config.ts'
import type { Gateway } from '../../src/gateway-options.ts'
import { startGateway } from '../../src/gateway.ts'
import type { PoolStatus } from '../../src/admin/status.ts'
import type { AccessLine, AttemptLine, GatewayEvent, TunnelLine } from '../../src/telemetry/telemetry.ts'
import { ask } from './http-client.ts'
import { recordingTelemetry } from './jobs-rig.ts'
import { testConfig, testPool, testQueue, testRoute } from './test-config.ts'
import { until } from './until.ts'

export interface GatewayRig extends AsyncDisposable {
  readonly gateway: Gateway
  readonly port: number
  readonly url: string
  readonly config: Config
  readonly events: GatewayEvent[]
  /** One line for each call that has ended. */
  readonly access: AccessLine[]
  readonly attempts: AttemptLine[]
  /** Of tunnels that are over. */
  readonly tunnels: TunnelLine[]
  /** The pool `api`, as the admin address tells. */
  pool(): Promise<PoolStatus>
  /** Waits until every slot and every tunnel's place is free again and nobody waits. */
  untilIdle(): Promise<void>
  untilInFlight(count: number): Promise<void>
  untilWaiting(count: number): Promise<void>
}

export interface GatewayRigOptions {
  readonly pool?: Partial<PoolConfig>
  readonly routes?: readonly RouteConfig[]
  readonly limits?: Partial<Config['limits']>
  readonly timeouts?: Partial<Config['timeouts']>
  readonly config?: Partial<Config>
}

export const DIRECT: RouteConfig = testRoute({ name: '/*', mode: 'direct' })

export async function startGatewayRig(ports: readonly number[], options: GatewayRigOptions = {}): Promise<GatewayRig> {
  const parts = {
    pools: [testPool('api', ports, options.pool)],
    queues: [testQueue({ name: 'work' })],
    routes: options.routes ?? [DIRECT],
  }
  const base = testConfig(parts)
  const config: Config = {
    ...base,
    limits: { ...base.limits, ...options.limits },
    timeouts: { ...base.timeouts, ...options.timeouts },
    ...options.config,
  }
  const events: GatewayEvent[] = []
  const access: AccessLine[] = []
  const attempts: AttemptLine[] = []
  const tunnels: TunnelLine[] = []
  const gateway = await startGateway(config, { telemetry: recordingTelemetry(events, access, attempts, tunnels) })
  const port = gateway.listeners[0]?.port as number
  const pool = async (): Promise<PoolStatus> => {
    const status = (await ask(`http://127.0.0.1:${gateway.admin.port}/status`)).json() as unknown as { pools: PoolStatus[] }
    return status.pools[0] as PoolStatus
  }
  const inFlight = async (): Promise<number> => (await pool()).servers.reduce((sum, server) => sum + server.inFlight, 0)
  await until('every server has had its first check', async () => (await pool()).servers.every(({ state }) => state !== 'unknown'))
  return {
    gateway,
    port,
    url: `http://127.0.0.1:${port}`,
    config,
    events,
    access,
    attempts,
    tunnels,
    pool,
    untilIdle: () =>
      until('no slot is taken', async () => {
        const { waiting, servers } = await pool()
        return waiting === 0 && servers.every((server) => server.inFlight === 0 && server.tunnels === 0)
      }),
    untilInFlight: (count) => until(`${count} requests are in flight`, async () => (await inFlight()) === count),
    untilWaiting: (count) => until(`${count} requests wait`, async () => (await pool()).waiting === count),
    async [Symbol.asyncDispose]() {
      await gateway.close()
    },
  }
}
