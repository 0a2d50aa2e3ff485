/**
 * What a job costs in the embedded store, by thread: `node bench/store.ts [jobs] [in flight]`. Small jobs (1 KiB body, some 300 bytes of
 * head), each submitted and settled by a caller of its own, so that batches form as they do in a gateway. Prints CPU time per operation.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { allBuckets } from '../src/core/jobs/buckets.ts'
import type { JobStore, Lease, NewJob } from '../src/ports/job-store.ts'
import { systemRandom } from '../src/ports/system.ts'
import { newJob, openStore, QUEUE } from './store-load.ts'

const JOBS = Number(process.argv[2] ?? 100_000)
const IN_FLIGHT = Number(process.argv[3] ?? 200)
const HEADERS = [
  'Host',
  'api.example.com',
  'User-Agent',
  'bench/1',
  'Content-Type',
  'application/json',
  'Accept',
  '*/*',
  'X-Request-Id',
  'x'.repeat(40),
]
/** As a socket hands it over: a piece of a pooled buffer. */
const BODY = Buffer.allocUnsafe(1024).fill('b')

let syncs = 0
let syncMs = 0

interface Costs {
  readonly name: string
  readonly operations: number
  readonly seconds: number
  readonly mainUs: number
  readonly storeUs: number
  readonly syncs: number
}

/** CPU of the calling thread and of all others. */
function cpu(): { main: number; total: number } {
  const total = process.cpuUsage()
  const main = process.threadCpuUsage()
  return { main: main.user + main.system, total: total.user + total.system }
}

async function measure(name: string, operations: number, work: () => Promise<void>): Promise<Costs> {
  const before = cpu()
  const syncsBefore = syncs
  const start = performance.now()
  await work()
  const after = cpu()
  const main = after.main - before.main
  return {
    name,
    operations,
    seconds: (performance.now() - start) / 1000,
    mainUs: main / operations,
    storeUs: (after.total - before.total - main) / operations,
    syncs: syncs - syncsBefore,
  }
}

/** `IN_FLIGHT` callers, each with one thing to do at a time. */
async function callers(count: number, each: (n: number) => Promise<void>): Promise<void> {
  let next = 0
  const caller = async (): Promise<void> => {
    while (next < count) await each(next++)
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, caller))
}

function job(n: number, keyed: boolean, idempotent: boolean): NewJob {
  return {
    ...newJob(HEADERS, BODY, 86_400_000),
    ...(keyed && { key: `account-${n % 1000}` }),
    ...(idempotent && {
      idempotency: { scopeKey: systemRandom.bytes(32).toString('hex'), fingerprint: 'f'.repeat(64), keepMs: 86_400_000 },
    }),
  }
}

/** Leases in small batches as a dispatcher does, and settles each by itself. */
async function drain(store: JobStore): Promise<void> {
  const answer = { status: 200, reason: 'OK', headers: ['Content-Type', 'application/json'], body: Buffer.from('{"ok":true}') }
  const dispatcher = async (): Promise<void> => {
    for (;;) {
      const [leases = []] = await store.lease([
        { queue: QUEUE, server: 'a', buckets: allBuckets(), max: 8, stealUnkeyed: true, leaseMs: 60_000 },
      ])
      if (leases.length === 0) return
      await Promise.all(leases.map((lease: Lease) => store.settle([{ kind: 'succeed', lease: lease.ref, answer }])))
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, IN_FLIGHT / 8) }, dispatcher))
}

/** Jobs that are worked off as they come: the line stays short, as it should be in a healthy system. */
async function liveShort(store: JobStore): Promise<void> {
  let submitted = 0
  const wave = async (): Promise<void> => {
    while (submitted < JOBS) {
      submitted += IN_FLIGHT / 2
      const wanted = Array.from({ length: IN_FLIGHT / 2 }, (_, n) => store.submit([job(n, false, false)]))
      await Promise.all(wanted)
      await drain(store)
    }
  }
  await Promise.all([wave(), wave()])
}

function rssAnonMiB(): number {
  const line = /RssAnon:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))
  return Number(line?.[1] ?? 0) / 1024
}

function say(costs: Costs): void {
  const { name, operations, seconds } = costs
  const figures = `main ${costs.mainUs.toFixed(1)} us, store ${costs.storeUs.toFixed(1)} us`
  process.stdout.write(
    `${name.padEnd(34)} ${Math.round(operations / seconds)
      .toString()
      .padStart(7)}/s  ${figures}  ${(operations / Math.max(1, costs.syncs)).toFixed(0)} per sync\n`,
  )
}

const folder = mkdtempSync(path.join(process.cwd(), '.bench-store-'))
try {
  const store = await openStore(folder, {
    onSync(took) {
      syncs += 1
      syncMs += took
    },
  })
  await callers(2000, (n) => store.submit([job(n, false, false)]).then(() => undefined))
  await drain(store)
  for (const [name, keyed, idempotent] of [
    ['plain', false, false],
    ['keyed (1,000 keys)', true, false],
    ['with idempotency key', false, true],
  ] as const) {
    const memory = rssAnonMiB()
    say(await measure(`submit, ${name}`, JOBS, () => callers(JOBS, (n) => store.submit([job(n, keyed, idempotent)]).then(() => undefined))))
    process.stdout.write(`  RssAnon ${memory.toFixed(0)} -> ${rssAnonMiB().toFixed(0)} MiB with ${JOBS} jobs queued\n`)
    say(await measure(`lease + settle, ${name}`, JOBS, () => drain(store)))
  }
  say(await measure('whole life, short line', JOBS, () => liveShort(store)))
  process.stdout.write(`one sync: ${(syncMs / syncs).toFixed(3)} ms\n`)
  await store.close()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
