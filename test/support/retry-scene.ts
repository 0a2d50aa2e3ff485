/** A gateway in front of servers that each end requests in a way of their own, and what each of them was sent. */
import type { ServerResponse } from 'node:http'
import type { PoolConfig, RouteConfig } from '../../src/config/config.ts'
import type { RetryRules } from '../../src/core/retry/retry.ts'
import { type GatewayRig, type GatewayRigOptions, startGatewayRig } from './gateway-rig.ts'
import { ask } from './http-client.ts'
import { testPool, testRoute } from './test-config.ts'
import { until } from './until.ts'
import { startTestServer, type TestServer } from './test-server.ts'

export type Handle = TestServer['handle']

export const well: Handle = (_, response) => void response.end('well')

export function status(code: number, headers: Record<string, string> = {}, body = `failed ${code}`): Handle {
  return (_, response) => void response.writeHead(code, headers).end(body)
}

export const resets: Handle = (_, response) => void response.socket?.resetAndDestroy()
export const saysNothing: Handle = () => undefined
export const noHttp: Handle = (_, response) => void response.socket?.end('SSH-2.0-x\r\n\r\n')

/** It breaks off in the middle of its answer. */
export const breaksOff: Handle = (_, response: ServerResponse) => {
  response.writeHead(200, { 'content-length': '100' })
  response.write('half', () => response.socket?.resetAndDestroy())
}

export interface RetryScene extends AsyncDisposable {
  readonly rig: GatewayRig
  readonly servers: readonly TestServer[]
  /** Requests that each server was sent. */
  counts(): number[]
  metric(name: string, outcome: string): Promise<number>
  /** Waits until no slot is taken, and no body is held in memory. */
  untilIdle(): Promise<void>
}

export interface SceneOptions extends Omit<GatewayRigOptions, 'routes'> {
  readonly route?: Partial<RouteConfig>
  /** Which of the servers are backups. */
  readonly backups?: readonly number[]
  /** Another pool, `shadow`, with one server. */
  readonly shadow?: { readonly server: TestServer; readonly pool?: Partial<PoolConfig> }
}

/** The servers take turns, beginning with the first. */
export async function retryScene(
  handles: readonly Handle[],
  { route, backups = [], shadow, ...options }: SceneOptions = {},
): Promise<RetryScene> {
  const servers = await Promise.all(handles.map((handle) => startTestServer(handle)))
  const pool = testPool(
    'api',
    servers.map(({ port }) => port),
  )
  const listed = pool.servers.map((server, i) => ({ ...server, ...(backups.includes(i) && { backup: true as const }) }))
  const own: PoolConfig = { ...pool, servers: listed, balance: 'round-robin', retries: { budget: 1, minPerSecond: 1000 }, ...options.pool }
  const shadows = shadow === undefined ? [] : [testPool('shadow', [shadow.server.port], shadow.pool)]
  const rig = await startGatewayRig([], {
    ...options,
    routes: [testRoute({ name: '/*', mode: 'direct', ...route })],
    config: { pools: [own, ...shadows], ...options.config },
  })
  const page = async (): Promise<string> => (await ask(`http://127.0.0.1:${rig.gateway.admin.port}/metrics`)).text
  const isShadowUp = async (): Promise<boolean> => /^spillway_server_up\{pool="shadow".* 1$/m.test(await page())
  if (shadow !== undefined) await until('the shadow is up', isShadowUp)
  return {
    rig,
    servers,
    counts: () => servers.map(({ received }) => received.length),
    async untilIdle() {
      await rig.untilIdle()
      await until('no body is held, no slot taken', async () => {
        const text = await page()
        const inFlight = [...text.matchAll(/^spillway_server_in_flight\{.* (\d+)$/gm)].map(([, count]) => Number(count))
        return text.includes('\nspillway_buffered_bytes 0\n') && inFlight.every((count) => count === 0)
      })
    },
    async metric(name, outcome) {
      const text = await page()
      const line = text.split('\n').find((each) => each.startsWith(name) && each.includes(`outcome="${outcome}"`))
      return Number(line?.split(' ').at(-1) ?? 0)
    },
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await Promise.all(servers.map((server) => server.kill()))
    },
  }
}

export function rules(change: Partial<RetryRules> = {}): RetryRules {
  return { connectFailure: true, reset: true, timeout: false, statuses: [], backoff: { baseMs: 1, maxMs: 5 }, ...change }
}
