/**
 * A gateway process with routes in front of a server that answers when the test says so, and before it a network in the hands of the test.
 * The gateway can be killed and started again: its clients keep their address.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ChildGateway, startGateway } from './child-gateway.ts'
import { type FaultyLine, startFaultyLine } from './faulty-line.ts'
import { ask } from './http-client.ts'
import { startTestServer, type TestServer } from './test-server.ts'
import { until } from './until.ts'

export interface RouteRig extends AsyncDisposable {
  readonly line: FaultyLine
  /** Of the line: `http://127.0.0.1:<port>`. */
  readonly url: string
  readonly server: TestServer
  readonly gateway: ChildGateway
  /** The next answer that the server owes. */
  nextOwed(): Promise<ServerResponse>
  /** Answers that the server still owes. */
  readonly owed: ServerResponse[]
  /** As the server does that works on the job: `nth` of those that it was sent. */
  report(progress: unknown, nth?: number): Promise<void>
  restart(): Promise<void>
  kill(): Promise<void>
}

export async function startRouteRig(change: Partial<ConfigFile> = {}): Promise<RouteRig> {
  const owed: ServerResponse[] = []
  const server = await startTestServer((_, response) => void owed.push(response))
  const folder = mkdtempSync(join(tmpdir(), 'spillway-routes-'))
  const config: ConfigFile = {
    pools: { api: { servers: [`http://127.0.0.1:${server.port}`], health: { interval: '100ms' } } },
    queues: { reports: { backoff: { base: '20ms', max: '100ms' } } },
    routes: [{ match: 'POST /reports', mode: 'queue' }, { match: 'POST /orders', mode: 'spill' }, { match: '/*' }],
    ...change,
  }
  let gateway = await startGateway(config, { folder })
  const line = await startFaultyLine(gateway.url)
  const up = (): Promise<void> => until('the server is up', () => gateway.of('server-up').length > 0)
  await up()
  return {
    line,
    url: line.url,
    server,
    owed,
    get gateway() {
      return gateway
    },
    async nextOwed() {
      await until('the server has a request', () => owed.length > 0)
      return owed.shift() as ServerResponse
    },
    async report(progress, nth = -1) {
      const url = String(server.received.at(nth)?.headers['spillway-report'])
      await ask(url, { method: 'POST', body: JSON.stringify(progress) })
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

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}
