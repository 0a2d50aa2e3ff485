/** Runs one fault: servers and gateway as processes, clients that count what they see, and what the servers executed. */
import { join } from 'node:path'
import type { PoolStatus } from '../../src/admin/status.ts'
import { type Child, startChild } from '../support/children.ts'
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts'
import { ask } from '../support/http-client.ts'
import { RawClient } from '../support/raw-client.ts'
import { until } from '../support/until.ts'
import type { FaultCase, Outcome, Strike } from './cases.ts'

const SERVER = join(import.meta.dirname, 'faulty-server-main.ts')
export const EACH = 1000
export const CLIENTS = 32
/** GET more often than the others, as people do. */
const IDEMPOTENT = ['GET', 'GET', 'PUT', 'GET', 'DELETE'] as const

/** `wrong`: it ended as if it were whole, and is not; or nothing at all came. */
export type Counts = Record<Outcome | 'wrong', number>

export interface FaultResult {
  readonly idempotent: Counts
  readonly once: Counts
  /** POSTs that servers read more than once, by their ids. */
  readonly twice: readonly string[]
  /** What was wrong, for people. */
  readonly wrong: readonly string[]
  /** Of the first server, in the end. */
  readonly state: string
}

export async function runFault(row: FaultCase): Promise<FaultResult> {
  await using servers = new FaultyServers()
  await servers.start(row.servers)
  const gateway = await startGatewayProcess(configOf(row, servers.ports))
  try {
    if (row.before !== undefined) await servers.strike(row.before, gateway)
    await until('the gateway knows its servers', async () => (await statesOf(gateway)).every((state) => state !== 'unknown'))
    const seen = await load(gateway, servers, row.strikes)
    return { ...seen, twice: servers.twice((id) => isOnce(Number(id))), state: (await statesOf(gateway))[0] ?? '' }
  } finally {
    await gateway[Symbol.asyncDispose]()
  }
}

function configOf({ pool = '', config = '' }: FaultCase, ports: readonly number[]): string {
  const servers = ports.map((port) => `http://127.0.0.1:${port}`).join(', ')
  return `pools: { api: { servers: [${servers}], ${pool} } }\nroutes: [{ match: "/*" }]\n${config}\n`
}

async function statesOf(gateway: GatewayProcess): Promise<string[]> {
  const { pools } = (await ask(`${gateway.adminUrl}/status`)).json() as unknown as { pools: PoolStatus[] }
  return (pools[0] as PoolStatus).servers.map(({ state }) => state)
}

// --- servers

class FaultyServers implements AsyncDisposable {
  readonly ports: number[] = []
  readonly #children: Child[] = []
  readonly #executed = new Map<string, number>()

  async start(count: number): Promise<void> {
    await Promise.all(Array.from({ length: count }, (_, i) => this.#start(i)))
  }

  async #start(i: number): Promise<void> {
    let port: number | undefined
    this.#children[i] = startChild([process.execPath, SERVER, String(this.ports[i] ?? 0)], (line) => {
      if (port === undefined) port = Number(line)
      else this.#executed.set(line, (this.#executed.get(line) ?? 0) + 1)
    })
    await until('the server listens', () => port !== undefined)
    this.ports[i] = port as unknown as number
  }

  /** What comes back is used again before the next thing happens. */
  async strike(strike: Strike, gateway: GatewayProcess): Promise<void> {
    if ('kill' in strike) await Promise.all(strike.kill.map((i) => (this.#children[i] as Child).kill()))
    else if ('start' in strike) {
      await Promise.all(strike.start.map((i) => this.#start(i)))
      await until('it is up again', async () => {
        const states = await statesOf(gateway)
        return strike.start.every((i) => states[i] === 'up')
      })
    } else await Promise.all(strike.of.map((i) => ask(`http://127.0.0.1:${this.ports[i]}/_do/${strike.conduct}`, { method: 'POST' })))
  }

  twice(counts: (id: string) => boolean): string[] {
    return [...this.#executed].filter(([id, times]) => times > 1 && counts(id)).map(([id]) => id)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#children.map((child) => child.kill()))
  }
}

// --- clients

function isOnce(i: number): boolean {
  return i % 2 === 1
}

async function load(
  gateway: GatewayProcess,
  servers: FaultyServers,
  strikes: readonly Strike[],
): Promise<Pick<FaultResult, 'idempotent' | 'once' | 'wrong'>> {
  const nothing = { well: 0, '502': 0, '503': 0, '504': 0, cut: 0, wrong: 0 }
  const idempotent: Counts = { ...nothing }
  const once: Counts = { ...nothing }
  const wrong: string[] = []
  const total = 2 * EACH
  const every = Math.floor(total / (strikes.length + 1))
  let next = 0
  let striking = Promise.resolve()
  const one = async (): Promise<void> => {
    const client = new OutcomeClient(gateway.port)
    while (next < total) {
      const i = next++
      const strike = i % every === 0 ? strikes[i / every - 1] : undefined
      // Others go on while a server fails, and wait until one is back.
      if (strike !== undefined) striking = servers.strike(strike, gateway)
      if (strike === undefined || 'start' in strike) await striking
      const [outcome, text] = await client.ask(i)
      ;(isOnce(i) ? once : idempotent)[outcome]++
      if (outcome !== 'well') wrong.push(text)
    }
    client.close()
  }
  await Promise.all(Array.from({ length: CLIENTS }, one))
  await striking
  return { idempotent, once, wrong }
}

/** Requests one after the other, on one connection as long as it is left open. */
class OutcomeClient {
  readonly #port: number
  #client: RawClient | undefined

  constructor(port: number) {
    this.#port = port
  }

  async ask(i: number): Promise<[outcome: keyof Counts, text: string]> {
    const method = isOnce(i) ? 'POST' : (IDEMPOTENT[(i / 2) % IDEMPOTENT.length] as string)
    const target = i % 3 === 0 ? '/parts' : '/whole'
    const body = method === 'GET' ? '' : 'what to do'
    const client = (this.#client ??= await RawClient.connect(this.#port))
    const before = client.bytes
    client.write(`${method} ${target} HTTP/1.1\r\nHost: a\r\nX-Id: ${i}\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
    const answer = await client.nextAnswer(method, before)
    if (answer?.header('connection') === 'close' || client.ended || client.closed) this.close()
    const text = `${method} ${target} ${i}: ${answer?.status} ${String(answer?.body)}`
    if (answer === undefined) return ['wrong', text]
    if (!answer.complete) return ['cut', text]
    if (answer.status === 200) return [String(answer.body) === `done ${i} `.repeat(8) ? 'well' : 'wrong', text]
    const { status } = answer
    return [status === 502 || status === 503 || status === 504 ? `${status}` : 'wrong', text]
  }

  close(): void {
    this.#client?.destroy()
    this.#client = undefined
  }
}
