/** The whole gateway in this process, from what people write in a configuration, on a store that a test may open again. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ReloadOutcome } from '../../src/admin/reloading.ts'
import { type LoadResult, loadValue } from '../../src/config/load.ts'
import type { ConfigFile } from '../../src/config/schema.ts'
import type { Gateway, GatewayOptions } from '../../src/gateway-options.ts'
import { startGateway } from '../../src/gateway.ts'
import type { GatewayEvent } from '../../src/telemetry/telemetry.ts'
import { type Answer, ask } from './http-client.ts'
import { recordingTelemetry } from './jobs-rig.ts'
import { until } from './until.ts'
import { WORKERS } from './workers.ts'

/** A test knows what it expects, and fails where it is wrong. */
// oxlint-disable-next-line typescript/no-explicit-any
export type Document = any

export interface Told extends Answer {
  /** Its body as JSON; undefined: it is none. */
  readonly document: Document
}

export interface Asking {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  /** What is no text and no bytes is sent as JSON. */
  readonly body?: unknown
}

export interface ConfigRig extends AsyncDisposable {
  readonly url: string
  readonly adminUrl: string
  readonly gateway: Gateway
  readonly events: GatewayEvent[]
  /** `path` at a listener. */
  ask(path: string, asked?: Asking): Promise<Told>
  /** Below `/api/` of the admin address. */
  admin(method: string, path: string, body?: unknown): Promise<Told>
  /** The status document at its address, once it meets the condition. */
  status(self: string, wanted: string, met: (document: Document) => boolean): Promise<Document>
  restart(change?: ConfigFile): Promise<void>
  /** As if the file had been written anew. */
  reload(change?: ConfigFile): Promise<ReloadOutcome>
}

export async function startConfigRig(config: ConfigFile, options: Partial<GatewayOptions> = {}): Promise<ConfigRig> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-config-'))
  const events: GatewayEvent[] = []
  let current = config
  const read = (): LoadResult => {
    const own = { listeners: ['127.0.0.1:0'], admin: { address: '127.0.0.1:0' }, store: { path: './data' }, ...WORKERS }
    return loadValue(structuredClone({ ...own, ...current }), { file: 'spillway.yaml', folder })
  }
  const start = (file: ConfigFile): Promise<Gateway> => {
    current = file
    const result = read()
    if (!result.ok) assert.fail(result.errors.join('\n'))
    return startGateway(result.config, { telemetry: recordingTelemetry(events), readConfig: async () => read(), ...options })
  }
  let gateway = await start(config)
  const told = async (url: string, { body, headers, method = 'GET' }: Asking): Promise<Told> => {
    const text = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body)
    const type = body === undefined ? {} : { 'content-type': 'application/json' }
    const answer = await ask(url, { method, headers: { ...type, ...headers }, ...(text !== undefined && { body: text }) })
    return { ...answer, document: documentOf(answer.text) }
  }
  const rig: ConfigRig = {
    get url() {
      return `http://127.0.0.1:${gateway.listeners[0]?.port}`
    },
    get adminUrl() {
      return `http://127.0.0.1:${gateway.admin.port}`
    },
    get gateway() {
      return gateway
    },
    events,
    ask: (path, asked = {}) => told(`${rig.url}${path}`, asked),
    admin: (method, path, body) => told(`${rig.adminUrl}/api/${path}`, { method, body }),
    async status(self, wanted, met) {
      let last: Document
      await until(wanted, async () => met((last = (await rig.ask(self)).document)))
      return last
    },
    async restart(change) {
      await gateway.close()
      gateway = await start(change ?? config)
    },
    reload(change = current) {
      current = change
      return gateway.reload()
    },
    async [Symbol.asyncDispose]() {
      await gateway.close()
      rmSync(folder, { recursive: true })
    },
  }
  return rig
}

function documentOf(text: string): Document {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
