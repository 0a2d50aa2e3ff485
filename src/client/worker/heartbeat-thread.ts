/**
 * The thread that extends a worker's leases over a connection of its own, whatever the main thread's event loop is doing. It watches that
 * loop: when it has not turned for `stuckAfterMs`, nothing is extended until it does, so that a worker that hangs does not hold its jobs,
 * and their keys, for ever.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { Api } from '../api.ts'
import { Queue } from '../queue.ts'
import { RETRY } from '../timing.ts'
import type { FromHeartbeat, HeartbeatData, ToHeartbeat } from './heartbeat-messages.ts'
import { type DueLeases, LeaseTable } from './lease-table.ts'

const port = parentPort
if (port === null) throw new Error('this module is the entry of a worker thread')

/** The gateway's default for one request (`api.receiveMax`). */
const BATCH_MAX = 1000
/** After an extension that failed. */
const AGAIN_MS = 1000
/** How often the main thread is looked at, at least. */
const LOOK_MS = 1000

const data = workerData as HeartbeatData
const beat = new Int32Array(data.beat)
// One try: what failed is due again in a moment, together with what has become due by then.
const { apiUrl, token, timeoutMs } = data
const http = new Api({ apiUrl, token }, { fetch, retry: { ...RETRY, attempts: 1 }, timeoutMs })
const queue = new Queue(data.queue, { http, urls: { ofToken: () => '', ofBatch: () => '' } })
const leases = new LeaseTable()

let seenBeat = 0
let lookedAt = performance.now()
let blockedMs = 0
let stuck = false
let extending = false
let againAt = 0
let timer: NodeJS.Timeout | undefined

function send(message: FromHeartbeat): void {
  port?.postMessage(message)
}

function lookAtMain(now: number): void {
  const current = Atomics.load(beat, 0)
  // A process that was stopped as a whole has not blocked: time in which this thread did not run, either, does not count.
  blockedMs = current === seenBeat ? blockedMs + Math.min(now - lookedAt, 2 * LOOK_MS) : 0
  lookedAt = now
  if (current !== seenBeat) {
    seenBeat = current
    // What has lapsed in the meantime is found out at once.
    if (stuck) leases.hasten(now)
    stuck = false
  } else if (!stuck && blockedMs > data.stuckAfterMs) {
    stuck = true
    send({ kind: 'stuck', blockedMs: Math.round(blockedMs) })
  }
}

function turn(): void {
  const now = performance.now()
  lookAtMain(now)
  if (!stuck && !extending && now >= againAt) {
    const due = leases.due(now, BATCH_MAX)
    if (due.length > 0) void extendAll(due)
  }
  arm()
}

function arm(): void {
  clearTimeout(timer)
  const now = performance.now()
  const dueAt = extending || stuck ? Number.POSITIVE_INFINITY : Math.max(leases.nextDueAt() ?? Number.POSITIVE_INFINITY, againAt)
  const lookMs = Math.min(LOOK_MS, data.stuckAfterMs / 4)
  timer = setTimeout(turn, Math.max(1, Math.min(dueAt - now, lookMs)))
}

async function extendAll(due: readonly DueLeases[]): Promise<void> {
  extending = true
  // All at once: a slow answer for one must not let the others lapse.
  const done = await Promise.all(due.map(extend))
  extending = false
  againAt = done.every(Boolean) ? 0 : performance.now() + AGAIN_MS * (0.5 + Math.random() / 2)
  turn()
}

async function extend({ leaseMs, receipts }: DueLeases): Promise<boolean> {
  const sentAt = performance.now()
  try {
    const results = await queue.extend(receipts, leaseMs)
    const lost: string[] = []
    for (const [i, receipt] of receipts.entries()) {
      if (results[i]?.status === 'extended') leases.extended(receipt, sentAt)
      else if (leases.remove(receipt)) lost.push(receipt)
    }
    if (lost.length > 0) send({ kind: 'lost', receipts: lost })
    return true
  } catch {
    // The gateway is away: whether the leases have survived is known when it is back.
    return false
  }
}

port.on('message', (message: ToHeartbeat) => {
  const now = performance.now()
  if (message.kind === 'add') for (const { receipt, leaseMs } of message.leases) leases.add(receipt, leaseMs, now)
  if (message.kind === 'remove') for (const receipt of message.receipts) leases.remove(receipt)
  if (message.kind !== 'stop') return arm()
  clearTimeout(timer)
  port.close()
})
send({ kind: 'ready' })
arm()
