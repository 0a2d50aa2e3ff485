/** Clients that come at an even pace, give up when it takes too long, and, as they are told not to, try again at once. */
import { Agent, request as httpRequest } from 'node:http'
import type { Millis } from '../../src/lib/units.ts'

export interface Visitors {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly perSecond: number
  readonly patienceMs: Millis
  readonly tries: number
}

/** What became of one of them, the last try counts. */
export interface Visitor {
  readonly cameAt: number
  tries: number
  /** 0: it gave up. */
  status: number
  job: string
}

export interface ImpatientClients extends AsyncDisposable {
  readonly all: readonly Visitor[]
  /** Jobs of which any client was told. */
  readonly told: ReadonlySet<string>
  /** Nobody more comes. Resolves when all are gone. */
  stop(): Promise<void>
}

export function impatientClients(url: string, visitors: Visitors): ImpatientClients {
  const agent = new Agent({ keepAlive: true })
  const all: Visitor[] = []
  const told = new Set<string>()
  const open = new Set<Promise<void>>()
  const startedAt = performance.now()
  const visit = async (visitor: Visitor): Promise<void> => {
    while (visitor.tries < visitors.tries && visitor.status !== 200 && visitor.status !== 202) {
      visitor.tries++
      const { status, job } = await ask(url, visitors, agent)
      visitor.status = status
      visitor.job = job
      if (job !== '') told.add(job)
    }
  }
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - startedAt) * visitors.perSecond) / 1000)
    while (all.length < due) {
      const visitor: Visitor = { cameAt: performance.now(), tries: 0, status: 0, job: '' }
      all.push(visitor)
      const gone: Promise<void> = visit(visitor).finally(() => open.delete(gone))
      open.add(gone)
    }
  }, 5)
  const stop = async (): Promise<void> => {
    clearInterval(timer)
    await Promise.all(open)
    agent.destroy()
  }
  return { all, told, stop, [Symbol.asyncDispose]: stop }
}

function ask(
  url: string,
  { method, path, patienceMs }: Visitors,
  agent: Agent,
): Promise<{ readonly status: number; readonly job: string }> {
  return new Promise((resolve) => {
    let answer = { status: 0, job: '' }
    const asked = httpRequest(url + path, { method, agent }, (response) => {
      const found = { status: response.statusCode ?? 0, job: String(response.headers['spillway-job'] ?? '') }
      response.on('error', () => undefined)
      response.on('end', () => (answer = found))
      response.resume()
    })
    const gaveUp = setTimeout(() => asked.destroy(), patienceMs)
    asked.on('error', () => undefined)
    asked.on('close', () => {
      clearTimeout(gaveUp)
      resolve(answer)
    })
    asked.end(method === 'POST' ? 'order' : undefined)
  })
}
