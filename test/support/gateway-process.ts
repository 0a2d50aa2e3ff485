/**
 * A gateway as a process of its own, as users run it: configuration from a file, JSON event lines, everything it writes kept. What it costs
 * is read from the operating system and from its own metrics.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'
import type { ConfigFile } from '../../src/config/schema.ts'
import { startGateway } from './child-gateway.ts'
import { ask } from './http-client.ts'

export interface GatewayProcess extends AsyncDisposable {
  readonly pid: number
  /** `http://127.0.0.1:<port>` */
  readonly url: string
  readonly port: number
  readonly adminUrl: string
  /** Where its configuration and data lie; gone after disposal. */
  readonly folder: string
  /** All that it wrote to standard output and standard error. */
  output(): string
  metrics(): Promise<MetricsPage>
  /** Private memory in RAM: what it really takes from the machine. */
  rssAnonBytes(): number
  /** SIGTERM; resolves with the exit code, or the signal that ended it. */
  stop(): Promise<number | string>
}

/** `config`: the YAML of a configuration; listeners, admin address and log format are added where it does not name them. */
/** `nodeOptions`: such as how much room V8 takes for what is young. */
export async function startGatewayProcess(config: string, nodeOptions?: string): Promise<GatewayProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-process-'))
  const wrap = nodeOptions === undefined ? [] : ['env', `NODE_OPTIONS=${nodeOptions}`]
  const child = await startGateway(parse(config) as ConfigFile, { folder, wrap })
  const { url, adminUrl, pid } = child
  return {
    pid,
    url,
    port: Number(new URL(url).port),
    adminUrl,
    folder,
    output: () => child.output,
    metrics: async () => new MetricsPage((await ask(`${adminUrl}/metrics`)).text),
    rssAnonBytes: () => rssAnonBytes(pid),
    async stop() {
      child.signal('SIGTERM')
      const { code, signal } = await child.exited
      return code ?? signal ?? 'unknown'
    },
    async [Symbol.asyncDispose]() {
      await child.kill()
      rmSync(folder, { recursive: true })
    },
  }
}

export function rssAnonBytes(pid: number): number {
  const kib = /^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kib) * 1024
}

/** One scrape. */
export class MetricsPage {
  readonly #lines: readonly string[]

  constructor(text: string) {
    this.#lines = text.split('\n')
  }

  /** The sum of a metric's series that have all of these labels (`queue="work"`). */
  sum(name: string, ...labels: readonly string[]): number {
    let sum = 0
    for (const line of this.#lines) {
      if (!line.startsWith(name) || (line[name.length] !== ' ' && line[name.length] !== '{')) continue
      if (labels.every((label) => line.includes(label))) sum += Number(line.slice(line.lastIndexOf(' ') + 1))
    }
    return sum
  }

  /** Jobs that have not ended. */
  unfinished(queue: string): number {
    return ['queued', 'running', 'retrying'].reduce(
      (sum, status) => sum + this.sum('spillway_jobs', `queue="${queue}"`, `status="${status}"`),
      0,
    )
  }
}
