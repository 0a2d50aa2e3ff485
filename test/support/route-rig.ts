/**
 * A gateway with routes in front of a server that answers when the test says so, and before it a network in the hands of the test.
 * Where it is a process of its own, it can be killed and started again: its clients keep their address.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ChildGateway, startGateway } from './child-gateway.ts'
import { startConfigRig } from './config-rig.ts'
import { type FaultyLine, startFaultyLine } from './faulty-line.ts'
import { ask } from './http-client.ts'
import { startTestServer, type TestServer } from './test-server.ts'
import { until } from './until.ts'

export interface RouteRig extends AsyncDisposable {
  readonly line: FaultyLine
  /** Of the line: `http://127.0.0.1:<port>`. */
  readonly url: string
  readonly server: TestServer
  /** Of the gateway itself, past the line. */
  readonly gatewayUrl: string
  readonly adminUrl: string
  /** The next answer that the server owes. */
  nextOwed(): Promise<ServerResponse>
  /** Answers that the server still owes. */
  readonly owed: ServerResponse[]
  /** As the server does that works on the job: `nth` of those that it was sent. */
  report(progress: unknown, nth?: number): Promise<void>
}

export interface RouteProcessRig extends RouteRig {
  readonly gateway: ChildGateway
  restart(): Promise<void>
  kill(): Promise<void>
}

/** With the gateway in this process: it takes a tenth of the time to start. */
export async function startRouteRig(change: Partial<ConfigFile> = {}): Promise<RouteRig> {
  const { server, config, ...rest } = await startServer(change)
  const gateway = await startConfigRig(config)
  const line = await startFaultyLine(gateway.url)
  await until('the server is up', () => gateway.events.some(({ type }) => type === 'server-up'))
  return {
    ...rest,
    server,
    line,
    url: line.url,
    gatewayUrl: gateway.url,
    adminUrl: gateway.adminUrl,
    async [Symbol.asyncDispose]() {
      await line[Symbol.asyncDispose]()
      await gateway[Symbol.asyncDispose]()
      await server.kill()
    },
  }
}

export async function startRouteProcess(change: Partial<ConfigFile> = {}): Promise<RouteProcessRig> {
  const { server, config, ...rest } = await startServer(change)
  const folder = mkdtempSync(join(tmpdir(), 'spillway-routes-'))
  let gateway = await startGateway(config, { folder })
  const line = await startFaultyLine(gateway.url)
  const up = (): Promise<void> => until('the server is up', () => gateway.of('server-up').length > 0)
  await up()
  return {
    ...rest,
    server,
    line,
    url: line.url,
    get gateway() {
      return gateway
    },
    get gatewayUrl() {
      return gateway.url
    },
    get adminUrl() {
      return gateway.adminUrl
    },
    kill: () => gateway.kill(),
    async restart() {
      await gateway.kill()
      gateway = await startGateway(config, { folder })
      line.target = gateway.url
      await up()
    },
    async [Symbol.asyncDispose]() {
      await line[Symbol.asyncDispose]()
      await gateway.kill()
      await server.kill()
      rmSync(folder, { recursive: true })
    },
  }
}

async function startServer(
  change: Partial<ConfigFile>,
): Promise<Pick<RouteRig, 'server' | 'owed' | 'nextOwed' | 'report'> & { readonly config: ConfigFile }> {
  const owed: ServerResponse[] = []
  const server = await startTestServer((_, response) => void owed.push(response))
  return {
    server,
    owed,
    config: {
      pools: { api: { servers: [`http://127.0.0.1:${server.port}`], health: { interval: '100ms' } } },
      queues: { reports: { backoff: { base: '20ms', max: '100ms' } } },
      routes: [{ match: 'POST /reports', mode: 'queue' }, { match: 'POST /orders', mode: 'spill' }, { match: '/*' }],
      ...change,
    },
    async nextOwed() {
      await until('the server has a request', () => owed.length > 0)
      return owed.shift() as ServerResponse
    },
    async report(progress, nth = -1) {
      const url = String(server.received.at(nth)?.headers['spillway-report'])
      await ask(url, { method: 'POST', body: JSON.stringify(progress) })
    },
  }
}

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}
