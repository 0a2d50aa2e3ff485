/** A gateway that tells receivers, which are real HTTP servers, of the ends of jobs. The configuration is written as users write it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ReloadOutcome } from '../../src/admin/reloading.ts'
import type { Config } from '../../src/config/config.ts'
import { type LoadResult, loadValue } from '../../src/config/load.ts'
import type { ConfigFile } from '../../src/config/schema.ts'
import type { Gateway, GatewayOptions } from '../../src/gateway-options.ts'
import { startGateway } from '../../src/gateway.ts'
import type { GatewayEvent } from '../../src/telemetry/telemetry.ts'
import { type Answer, ask } from './http-client.ts'
import { recordingTelemetry } from './jobs-rig.ts'
import { type ApiAnswer, askDocument, type Document } from './queue-api-rig.ts'
import { type Received, startTestServer, type TestServer } from './test-server.ts'
import { until } from './until.ts'

/** Of the published test vector. */
export const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'

export interface WebhookRig extends AsyncDisposable {
  readonly gateway: Gateway
  readonly server: TestServer
  readonly receiver: TestServer
  readonly events: GatewayEvent[]
  readonly url: string
  /** Sends a request that is to become a job: its id. */
  submit(path?: string, headers?: Readonly<Record<string, string>>, body?: string): Promise<string>
  post(path: string, headers: Readonly<Record<string, string>>, body: string): Promise<Answer>
  /** A call of the queue API on the admin address. */
  api(method: string, path: string, body?: unknown): Promise<ApiAnswer>
  /** Waits until the receiver has got so many. */
  received(count: number): Promise<readonly Received[]>
  /** All webhooks as the queue API lists them, oldest first. */
  deliveries(): Promise<readonly Document[]>
  metrics(): Promise<string>
  /** Another life over the same store, maybe with another configuration. */
  restart(change?: Partial<ConfigFile>): Promise<void>
  /** The configuration is read again, and has changed. */
  reload(change: Partial<ConfigFile>): Promise<ReloadOutcome>
}

export interface WebhookRigOptions {
  /** Endpoint `main` goes to the receiver, with these settings; null: there is none. */
  readonly main?: Record<string, unknown> | null
  readonly webhooks?: Record<string, unknown>
  readonly config?: Partial<ConfigFile>
  readonly handle?: TestServer['handle']
  readonly receive?: TestServer['handle']
  readonly options?: Partial<GatewayOptions>
}

export type Receiver = TestServer & AsyncDisposable & { readonly url: string }

/** One that stands beside the gateway. */
export async function startReceiver(handle?: TestServer['handle']): Promise<Receiver> {
  const server = await startTestServer(handle)
  return Object.defineProperties(server, {
    url: { value: `http://127.0.0.1:${server.port}` },
    [Symbol.asyncDispose]: { value: () => server.kill() },
  }) as Receiver
}

export async function startWebhookRig(rigOptions: WebhookRigOptions = {}): Promise<WebhookRig> {
  const { main = {}, webhooks = {}, options = {} } = rigOptions
  const server = await startTestServer(rigOptions.handle)
  const receiver = await startTestServer(rigOptions.receive)
  const path = mkdtempSync(join(tmpdir(), 'spillway-webhooks-'))
  const { endpoints = {}, ...rest } = webhooks as { endpoints?: Record<string, unknown> }
  const own = main === null ? {} : { main: { url: `http://127.0.0.1:${receiver.port}/hook`, secret: SECRET, ...main } }
  let file: ConfigFile = {
    listeners: ['127.0.0.1:0'],
    admin: { address: '127.0.0.1:0' },
    store: { path },
    pools: {
      api: { servers: [`http://127.0.0.1:${server.port}`], health: { path: '/healthz', interval: '100ms', rise: 1 }, slowStart: '0s' },
    },
    queues: { work: { attempts: 2, backoff: { base: '10ms', max: '20ms' } } },
    routes: [{ match: '/*', mode: 'queue', queue: 'work', allow: ['key', 'reference', 'prefer'] }],
    webhooks: { allow: ['127.0.0.0/8'], retries: ['50ms', '50ms', '50ms'], endpoints: { ...own, ...endpoints }, ...rest } as NonNullable<
      ConfigFile['webhooks']
    >,
    ...rigOptions.config,
  }
  const events: GatewayEvent[] = []
  const start = async (): Promise<Gateway> =>
    startGateway(configOf(file), {
      telemetry: recordingTelemetry(events),
      readConfig: () => Promise.resolve(load(file)),
      ...options,
    })
  let gateway = await start().catch(async (error: unknown) => {
    await Promise.all([server.kill(), receiver.kill()])
    throw error
  })
  const urlOf = (): string => `http://127.0.0.1:${gateway.listeners[0]?.port}`
  const adminUrl = (): string => `http://127.0.0.1:${gateway.admin.port}`
  const post: WebhookRig['post'] = (target, headers, body) => {
    const length = { 'content-length': String(Buffer.byteLength(body)) }
    return ask(`${urlOf()}${target}`, { method: 'POST', headers: { ...length, ...headers }, body })
  }
  const api: WebhookRig['api'] = (method, target, body) =>
    askDocument(`${adminUrl()}/api${target}`, { method, ...(body !== undefined && { body }) })
  return {
    get gateway() {
      return gateway
    },
    server,
    receiver,
    events,
    get url() {
      return urlOf()
    },
    post,
    api,
    async submit(target = '/work', headers = {}, body = '{"n":1}') {
      const answer = await post(target, { 'content-type': 'application/json', ...headers }, body)
      if (answer.status !== 202) throw new Error(`not accepted: ${answer.status} ${answer.text}`)
      return (JSON.parse(answer.text) as { readonly id: string }).id
    },
    async received(count) {
      await until(
        () => `${count} webhooks have arrived (${receiver.received.length} have)`,
        () => receiver.received.length >= count,
      )
      return receiver.received
    },
    async deliveries() {
      const { document } = await api('GET', '/queues/webhooks/jobs?limit=1000')
      return document.jobs as readonly Document[]
    },
    metrics: async () => (await ask(`${adminUrl()}/metrics`)).text,
    async restart(change = {}) {
      await gateway.close()
      file = { ...file, ...change }
      gateway = await start()
    },
    reload(change) {
      file = { ...file, ...change }
      return gateway.reload()
    },
    async [Symbol.asyncDispose]() {
      await gateway.close()
      await Promise.all([server.kill(), receiver.kill()])
      rmSync(path, { recursive: true, force: true })
    },
  }
}

function load(file: ConfigFile): LoadResult {
  return loadValue(structuredClone(file), { file: 'test', folder: tmpdir() })
}

function configOf(file: ConfigFile): Config {
  const loaded = load(file)
  if (!loaded.ok) throw new Error(loaded.errors.join('\n'))
  return loaded.config
}
