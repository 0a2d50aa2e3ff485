/**
 * Clients and servers of the overload benchmark, as a process of its own. Servers work on so many requests at a time and take a fixed time for each, by
 * timers: their capacity is known and does not depend on the machine. Clients come at random (Poisson) whether or not those before them were
 * answered. Everything is counted from the moment at which a request was due, so a late client counts against who is measured.
 */
import { Agent, request } from 'node:http'
import process from 'node:process'
import { SeededRandom } from '../../test/support/seeded-random.ts'
import { startTimedServer } from '../../test/support/timed-server.ts'
import { quantile } from '../glue.ts'

export const SERVERS = 4
export const SLOTS = 5
export const WORK_MS = 100
/** Requests in a second, all servers together. */
export const CAPACITY: number = (SERVERS * SLOTS * 1000) / WORK_MS
/** A client gives up. */
const PATIENCE_MS = 10_000
const TICK_MS = 2
/** It is back when in so many windows in a row everybody was served as in calm times. */
const WINDOW_MS = 250
const WINDOWS = 4

export interface Crowd {
  readonly url: string
  readonly seed: number
  /** Of capacity; calm before and after. */
  readonly calm: number
  readonly load: number
  readonly calmMs: number
  readonly loadMs: number
}

export interface Seen {
  readonly calmP99Ms: number
  /** Served in the time of the overload, of what the servers could have done. */
  readonly goodput: number
  readonly servedP50Ms: number
  readonly servedP99Ms: number
  readonly refusedP50Ms: number
  readonly refusedP99Ms: number
  readonly statuses: Readonly<Record<string, number>>
  /** From the end of the overload until all is as before. Absent: it never was. */
  readonly backMs?: number
}

/** To the benchmark: a phase begins, and at the end what was seen. */
export type CrowdNote = { readonly ports: readonly number[] } | { readonly phase: 'calm' | 'load' | 'after' } | { readonly seen: Seen }

interface Visit {
  readonly dueMs: number
  tookMs: number
  /** 0: no answer. */
  status: number
}

function visit(url: string, agent: Agent, one: Visit, startedAt: number): Promise<void> {
  return new Promise((resolve) => {
    const asked = request(url, { agent }, (response) => {
      response.on('end', () => {
        one.status = response.statusCode ?? 0
        one.tookMs = performance.now() - startedAt - one.dueMs
      })
      response.on('error', () => undefined)
      response.resume()
    })
    const gaveUp = setTimeout(() => asked.destroy(), PATIENCE_MS)
    asked.on('error', () => undefined)
    asked.on('close', () => {
      clearTimeout(gaveUp)
      resolve()
    })
    asked.end()
  })
}

/** All that come in the three phases; resolves when each has an answer or has given up. */
async function visits(
  { url, seed, calm, load, calmMs, loadMs }: Crowd,
  tell: (phase: 'calm' | 'load' | 'after') => void,
): Promise<Visit[]> {
  const agent = new Agent({ keepAlive: true })
  const random = new SeededRandom(seed)
  const all: Visit[] = []
  const open = new Set<Promise<void>>()
  const startedAt = performance.now()
  const phases = [
    { phase: 'calm', untilMs: calmMs, share: calm },
    { phase: 'load', untilMs: calmMs + loadMs, share: load },
    { phase: 'after', untilMs: 2 * calmMs + loadMs, share: calm },
  ] as const
  let dueMs = 0
  for (const { phase, untilMs, share } of phases) {
    tell(phase)
    while (dueMs < untilMs) {
      for (
        const now = performance.now() - startedAt;
        dueMs <= now && dueMs < untilMs;
        dueMs -= (Math.log(1 - random.unit()) * 1000) / (share * CAPACITY)
      ) {
        const one: Visit = { dueMs, tookMs: Number.POSITIVE_INFINITY, status: 0 }
        all.push(one)
        const gone: Promise<void> = visit(url, agent, one, startedAt).finally(() => open.delete(gone))
        open.add(gone)
      }
      await new Promise((resolve) => setTimeout(resolve, TICK_MS))
    }
  }
  await Promise.all(open)
  agent.destroy()
  return all
}

function seen(all: readonly Visit[], { calmMs, loadMs }: Crowd): Seen {
  const isServed = ({ status }: Visit): boolean => status === 200
  const times = (some: readonly Visit[]): number[] => some.map(({ tookMs }) => tookMs)
  const overMs = calmMs + loadMs
  // The first half of the calm warms up.
  const calmP99Ms = quantile(times(all.filter((one) => one.dueMs > calmMs / 2 && one.dueMs < calmMs)), 0.99)
  const during = all.filter(({ dueMs }) => dueMs >= calmMs && dueMs < overMs)
  const done = all.filter((one) => isServed(one) && one.dueMs + one.tookMs >= calmMs && one.dueMs + one.tookMs < overMs)
  const served = times(during.filter(isServed))
  const refused = times(during.filter(({ status }) => status >= 500))
  const statuses: Record<string, number> = {}
  for (const { status } of during) statuses[status] = (statuses[status] ?? 0) + 1
  const backMs = backAfter(
    all.filter(({ dueMs }) => dueMs >= overMs),
    { overMs, endMs: overMs + calmMs, p99MaxMs: 3 * calmP99Ms },
  )
  return {
    calmP99Ms,
    goodput: (done.length * 1000) / (CAPACITY * loadMs),
    servedP50Ms: quantile(served, 0.5),
    servedP99Ms: quantile(served, 0.99),
    refusedP50Ms: quantile(refused, 0.5),
    refusedP99Ms: quantile(refused, 0.99),
    statuses,
    ...(backMs !== undefined && { backMs }),
  }
}

function backAfter(
  after: readonly Visit[],
  { overMs, endMs, p99MaxMs }: { overMs: number; endMs: number; p99MaxMs: number },
): number | undefined {
  let good = 0
  for (let from = overMs; from + WINDOW_MS <= endMs; from += WINDOW_MS) {
    const window = after.filter(({ dueMs }) => dueMs >= from && dueMs < from + WINDOW_MS)
    const isGood =
      window.every(({ status }) => status === 200) &&
      quantile(
        window.map(({ tookMs }) => tookMs),
        0.99,
      ) <= p99MaxMs
    good = isGood ? good + 1 : 0
    if (good === WINDOWS) return from - (WINDOWS - 1) * WINDOW_MS - overMs
  }
  return undefined
}

async function main(): Promise<void> {
  const servers = await Promise.all(Array.from({ length: SERVERS }, () => startTimedServer(SLOTS, () => WORK_MS)))
  const tell = (note: CrowdNote): void => void process.send?.(note)
  process.on('message', (crowd: Crowd) => {
    void visits(crowd, (phase) => tell({ phase })).then((all) => tell({ seen: seen(all, crowd) }))
  })
  process.on('disconnect', () => process.exit())
  tell({ ports: servers.map(({ url }) => Number(new URL(url).port)) })
}

if (import.meta.main) await main()
