/** A spill route and a direct one, on servers that answer when a test says so: whoever has `quick` in its name at once. */
import type { ServerResponse } from 'node:http'
import type { PoolConfig, QueueConfig, RouteConfig } from '../../src/config/config.ts'
import { type Answer, ask, type Asked } from './http-client.ts'
import { type JobsRig, startJobsRig, type RigOptions } from './jobs-rig.ts'
import { testRoute } from './test-config.ts'
import { until } from './until.ts'

/** A request at a server. */
export interface Visit {
  /** The last segment of its path. */
  readonly name: string
  /** Port of the server. */
  readonly server: number
  readonly job: boolean
  readonly answered: boolean
  finish(status?: number, headers?: Readonly<Record<string, string>>): void
}

export interface SpillScene extends AsyncDisposable {
  readonly rig: JobsRig
  /** In the order in which they came to the servers. */
  readonly visits: readonly Visit[]
  readonly names: readonly string[]
  /** Waits until it has come. */
  at(name: string): Promise<Visit>
  /** A POST to the spill route; `GET /direct/<name>` where it says so. */
  send(name: string, asked?: Asked & { readonly to?: 'spill' | 'direct' }): Promise<Answer>
  killServers(): Promise<void>
  reviveServers(): Promise<void>
}

export interface SceneOptions {
  readonly servers?: number
  readonly pool?: Partial<PoolConfig>
  readonly queue?: Partial<QueueConfig>
  readonly route?: Partial<RouteConfig>
  readonly config?: RigOptions['config']
}

export async function spillScene(options: SceneOptions = {}): Promise<SpillScene> {
  const visits: Visit[] = []
  const rig = await startJobsRig({
    servers: options.servers ?? 1,
    pool: { maxInFlight: 1, waitMs: 10_000, ...options.pool },
    queue: options.queue ?? {},
    routes: [spillRoute(options.route), directRoute()],
    ...(options.config !== undefined && { config: options.config }),
    handle: ({ url, headers }, response) => void visits.push(visit(url, headers['spillway-job'] !== undefined, response)),
  })
  return {
    rig,
    visits,
    get names() {
      return visits.map(({ name }) => name)
    },
    async at(name) {
      const found = (): Visit | undefined => visits.find((each) => each.name === name)
      await until(
        () => `${name} came to a server (so far: ${visits.map((each) => each.name).join(' ')})`,
        () => found() !== undefined,
      )
      return found() as Visit
    },
    send(name, { to = 'spill', ...asked } = {}) {
      const method = to === 'spill' ? 'POST' : 'GET'
      return ask(`${rig.url}/${to}/${name}`, { method, ...(method === 'POST' && { body: name }), ...asked })
    },
    async killServers() {
      await Promise.all(rig.servers.map((server) => server.kill()))
      await until('all are down', () => rig.pool.servers.every(({ state }) => state === 'down'))
    },
    async reviveServers() {
      await Promise.all(rig.servers.map((server) => server.revive()))
      await until('all are up', () => rig.pool.upServers().length === rig.servers.length)
    },
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  }
}

function visit(url: string, job: boolean, response: ServerResponse): Visit {
  const name = url.slice(url.lastIndexOf('/') + 1)
  const made: Visit = {
    name,
    server: response.socket?.localPort ?? 0,
    job,
    get answered() {
      return response.writableEnded
    },
    finish: (status = 200, headers = {}) => void response.writeHead(status, headers).end(`${name} done`),
  }
  if (name.includes('quick')) made.finish()
  return made
}

/** For the key of a request there is the header `X-Account`. */
export function spillRoute(change: Partial<RouteConfig> = {}): RouteConfig {
  return testRoute({
    name: 'POST /spill/*',
    match: { path: '/spill/*', headers: [], query: [] },
    mode: 'spill',
    key: { from: 'header', name: 'x-account' },
    waitMs: 20_000,
    ...change,
  })
}

export function directRoute(): RouteConfig {
  return testRoute({ name: '/direct/*', match: { path: '/direct/*', headers: [], query: [] }, mode: 'direct' })
}

export const isJob = (answer: Answer): boolean => answer.headers['spillway-job'] !== undefined
