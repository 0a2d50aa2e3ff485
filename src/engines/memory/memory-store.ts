/** The `memory` engine: everything the durable one does, for as long as the process lives. For tests, and for those who can lose jobs. */
import type { Clock, Random } from '../../ports/clock.ts'
import type { JobStore, QueueLimits, QueueRules, StoreEvents, StoreLimits } from '../../ports/job-store.ts'
import type { Call, CallKind, CallOf, ReplyByKind } from '../ledger/calls.ts'
import { execute } from '../ledger/execute.ts'
import { type Executor, jobStoreOver } from '../ledger/job-store-over.ts'
import { Ledger } from '../ledger/ledger.ts'
import { Sealer, type SealingKey } from '../ledger/sealed.ts'
import { sealedExecutor } from '../ledger/sealed-executor.ts'
import { MemoryTables } from './memory-tables.ts'

export interface MemoryStoreOptions {
  readonly clock: Clock
  readonly random: Random
  readonly queues: readonly { readonly name: string; readonly limits: QueueLimits; readonly rules?: QueueRules }[]
  readonly events: StoreEvents
  readonly limits?: StoreLimits
  /** As in the durable engine; what it protects here is a dump of the process. */
  readonly encryption?: { readonly keys: readonly SealingKey[] }
}

export function openMemoryStore(options: MemoryStoreOptions): JobStore {
  const { clock, random, queues, limits, events } = options
  const tables = new MemoryTables()
  const ledger = new Ledger(tables, { queues, limits, onCorrupt: (what) => events.onCorrupt?.(what) })
  const secret = (): string => random.bytes(16).toString('base64url')
  let closed = false
  const executor: Executor = {
    engine: 'memory',
    blobs: tables.blobs,
    async call<K extends CallKind>(call: CallOf<K> & Call): Promise<ReplyByKind[K]> {
      if (closed) throw new Error('the store is closed')
      ledger.begin({ now: clock.now(), monotonic: clock.monotonic(), secret })
      const reply = execute(ledger, call)
      ledger.commit()
      return reply as ReplyByKind[K]
    },
    async close() {
      closed = true
    },
  }
  if (options.encryption === undefined) return jobStoreOver(executor)
  const sealer = new Sealer(options.encryption.keys, random)
  return jobStoreOver(sealedExecutor(executor, sealer, (what) => events.onCorrupt?.(what)))
}
