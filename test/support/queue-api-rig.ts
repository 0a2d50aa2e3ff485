/** A gateway in this process for tests of the queue API: on a listener with API keys, on the admin address, on either engine. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ApiKeyConfig, Config, PoolConfig, QueueConfig } from '../../src/config/config.ts'
import type { Gateway } from '../../src/gateway-options.ts'
import { startGateway } from '../../src/gateway.ts'
import type { GatewayEvent } from '../../src/telemetry/telemetry.ts'
import { type Answer, ask } from './http-client.ts'
import { recordingTelemetry } from './jobs-rig.ts'
import { testConfig, testPool, testQueue } from './test-config.ts'

export type Engine = 'memory' | 'embedded'
export const ENGINES: readonly Engine[] = ['memory', 'embedded']
export const TOKEN = 'the-token-of-everybody'

export interface QueueApiRig extends AsyncDisposable {
  readonly gateway: Gateway
  readonly config: Config
  readonly port: number
  readonly adminPort: number
  readonly events: GatewayEvent[]
  /** A call on the listener, with the token of everybody. */
  api(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<ApiAnswer>
  /** The same on the admin address. */
  admin(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<ApiAnswer>
  /** Another life of the gateway over the same store. */
  restart(change?: Partial<Config>): Promise<void>
}

export interface ApiAnswer extends Answer {
  /** Its body, which is JSON. */
  readonly document: Document
}

/** What tests look into without further ado. */
// A test knows what it expects, and fails where it is wrong.
// oxlint-disable-next-line typescript/no-explicit-any
export type Document = any

export interface QueueApiRigOptions {
  readonly engine?: Engine
  readonly queues?: readonly (Partial<QueueConfig> & { readonly name: string })[]
  readonly keys?: readonly ApiKeyConfig[]
  readonly servers?: readonly number[]
  readonly pool?: Partial<PoolConfig>
  readonly config?: Partial<Config>
  readonly limits?: Partial<Config['limits']>
}

export function pullQueue(change: Partial<QueueConfig> & { readonly name: string }): QueueConfig {
  const { pool: _, ...queue } = testQueue({ pull: true, ...change })
  return change.pool === undefined ? queue : { ...queue, pool: change.pool }
}

export async function startQueueApiRig(options: QueueApiRigOptions = {}): Promise<QueueApiRig> {
  const { engine = 'memory', servers = [] } = options
  const path = mkdtempSync(join(tmpdir(), 'spillway-queue-'))
  const keys = options.keys ?? [{ name: 'all', token: TOKEN, queues: ['*'], can: ['send', 'receive', 'browse', 'manage'] }]
  const base = testConfig({
    pools: servers.length === 0 ? [] : [testPool('api', servers, options.pool)],
    queues: (options.queues ?? [{ name: 'inbox' }]).map(pullQueue),
    routes: [],
  })
  let config: Config = {
    ...base,
    store: { ...base.store, engine, path },
    api: { ...base.api, keys },
    limits: { ...base.limits, ...options.limits },
    ...options.config,
  }
  const events: GatewayEvent[] = []
  const start = (): Promise<Gateway> => startGateway(config, { telemetry: recordingTelemetry(events) })
  let gateway = await start()
  return {
    get gateway() {
      return gateway
    },
    get config() {
      return config
    },
    get port() {
      return gateway.listeners[0]?.port as number
    },
    get adminPort() {
      return gateway.admin.port
    },
    events,
    api(method, apiPath, body, headers) {
      const url = `http://127.0.0.1:${gateway.listeners[0]?.port}/_spillway/api${apiPath}`
      return askDocument(url, { method, body, headers: { authorization: `Bearer ${TOKEN}`, ...headers } })
    },
    admin(method, apiPath, body, headers) {
      return askDocument(`http://127.0.0.1:${gateway.admin.port}/api${apiPath}`, {
        method,
        body,
        ...(headers === undefined ? {} : { headers }),
      })
    },
    async restart(change = {}) {
      await gateway.close()
      config = { ...config, ...change }
      gateway = await start()
    },
    async [Symbol.asyncDispose]() {
      await gateway.close()
      rmSync(path, { recursive: true, force: true })
    },
  }
}

/** Asks with a body that is a JSON document, or is text as it stands; the answer's body is read when it is looked at. */
export async function askDocument(
  url: string,
  asked: { method: string; body?: unknown; headers?: Readonly<Record<string, string>> },
): Promise<ApiAnswer> {
  const { method, body } = asked
  const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body)
  const type = text === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)) }
  const answer = await ask(url, { method, headers: { ...type, ...asked.headers }, ...(text === undefined ? {} : { body: text }) })
  return {
    ...answer,
    get document() {
      return JSON.parse(answer.text) as unknown
    },
  }
}
