/** The port's methods over anything that executes calls: packs what goes in, unpacks what comes out. */
import type { JobStore } from '../../ports/job-store.ts'
import type { Call, CallKind, CallOf, ReplyByKind } from './calls.ts'
import { packJob, packSettlement, unpackAnswer, unpackRequest } from './payload.ts'

export interface Executor {
  call<K extends CallKind>(call: CallOf<K> & Call): Promise<ReplyByKind[K]>
  close(): Promise<void>
}

export function jobStoreOver(executor: Executor): JobStore {
  return {
    submit: async (jobs) => executor.call({ kind: 'submit', jobs: jobs.map(packJob) }),
    async lease(requests) {
      const batches = await executor.call({ kind: 'lease', requests })
      return batches.map((leases) => leases.map((lease) => ({ ...lease, request: unpackRequest(lease.request) })))
    },
    extend: (leases, forMs) => executor.call({ kind: 'extend', leases, forMs }),
    settle: async (settlements) => executor.call({ kind: 'settle', settlements: settlements.map(packSettlement) }),
    command: (commands) => executor.call({ kind: 'command', commands }),
    async read(ids, want) {
      const found = await executor.call({ kind: 'read', ids, want })
      return found.map(
        (read) => read && (read.answer === undefined ? { job: read.job } : { job: read.job, answer: unpackAnswer(read.answer) }),
      )
    },
    tick: () => executor.call({ kind: 'tick' }),
    stats: () => executor.call({ kind: 'stats' }),
    close: () => executor.close(),
  }
}
