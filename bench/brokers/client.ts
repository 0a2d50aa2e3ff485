/**
 * The client of one arm, a process of its own: it takes one order after another over the channel from `bench/brokers.ts` and answers with
 * what it measured. It connects for each measurement.
 *
 *   node client.ts <arm> <address> <the broker's pid; 0: it is in this process>
 */
import process from 'node:process'
import { cpuMicros } from '../machine.ts'
import { ARMS, type ArmName } from './arms.ts'
import { JobBook } from './job-book.ts'
import { type Bench, bringTo, measureLatency, type Measured, measureLives, measureSubmits, type What } from './measure.ts'

const PATIENCE_MS = 10_000

export interface Order {
  readonly what: What
  readonly seconds: number
  /** Of `latency`: jobs per second. */
  readonly rate: number
}

export type Answer = { readonly measured: Measured } | { readonly error: string }

const [armName, address, brokerPid] = process.argv.slice(2) as [ArmName, string, string]
const arm = ARMS[armName]
const book = new JobBook()

function cpu(): { broker: number; client: number } {
  const own = process.cpuUsage()
  return { broker: brokerPid === '0' ? 0 : cpuMicros(Number(brokerPid)), client: own.user + own.system }
}

async function measure(bench: Bench, { what, seconds, rate }: Order): Promise<Measured> {
  switch (what) {
    case 'submits':
      return await measureSubmits(bench, seconds)
    case 'lives':
      return await measureLives(bench, seconds)
    case 'latency':
      return await measureLatency(bench, seconds, rate)
  }
}

async function obey(order: Order): Promise<Measured> {
  const client = await arm.connect(address)
  try {
    const bench: Bench = { client, book, cpu, patienceMs: PATIENCE_MS }
    const faults = await bringTo(bench, arm.waiting ?? 0)
    const measured = await measure(bench, order)
    await client.purge?.()
    if (client.purge !== undefined) book.purged()
    return { ...measured, faults: [...faults, ...measured.faults] }
  } finally {
    await client.close()
  }
}

process.on('message', (order: Order) => {
  obey(order)
    .then((measured): Answer => ({ measured }))
    .catch((error: Error): Answer => ({ error: error.stack ?? error.message }))
    .then((answer) => process.send?.(answer))
    .catch(() => process.exit(1))
})
process.on('disconnect', () => process.exit())
