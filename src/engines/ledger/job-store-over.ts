/** The port's methods over anything that executes calls: packs what goes in, unpacks what comes out. */
import type { Blobs } from '../../ports/blobs.ts'
import type { JobStore, Maintenance, MaintenanceReport } from '../../ports/job-store.ts'
import type { Call, CallKind, CallOf, ReplyByKind } from './calls.ts'
import { packCommand, packJob, packSettlement, unpackRead, unpackRequest } from './payload.ts'

export interface Executor {
  call<K extends CallKind>(call: CallOf<K> & Call): Promise<ReplyByKind[K]>
  /** Its name. */
  readonly engine: string
  maintain?(work: Maintenance): Promise<MaintenanceReport>
  readonly blobs: Blobs
  close(): Promise<void>
}

export function jobStoreOver(executor: Executor): JobStore {
  return {
    submit: async (jobs) => executor.call({ kind: 'submit', jobs: jobs.map(packJob) }),
    submitWhole: async (jobs, note) => executor.call({ kind: 'submitWhole', jobs: jobs.map(packJob), note }),
    async lease(requests) {
      const batches = await executor.call({ kind: 'lease', requests })
      return batches.map((leases) => leases.map((lease) => ({ ...lease, request: unpackRequest(lease.request) })))
    },
    extend: (leases, forMs) => executor.call({ kind: 'extend', leases, forMs }),
    settle: async (settlements) => executor.call({ kind: 'settle', settlements: settlements.map(packSettlement) }),
    command: (commands) => executor.call({ kind: 'command', commands: commands.map(packCommand) }),
    async read(ids, want) {
      const found = await executor.call({ kind: 'read', ids, want })
      return found.map((read) => read && unpackRead(read))
    },
    tick: () => executor.call({ kind: 'tick' }),
    stats: () => executor.call({ kind: 'stats' }),
    browse: (request) => executor.call({ kind: 'browse', request }),
    keys: (request) => executor.call({ kind: 'keys', request }),
    held: (keys) => executor.call({ kind: 'held', keys }),
    followUps: (max, after) => executor.call({ kind: 'followUps', max, after }),
    notes: (prefix) => executor.call({ kind: 'notes', prefix }),
    schedules: () => executor.call({ kind: 'schedules' }),
    tasks: () => executor.call({ kind: 'tasks' }),
    info: async () => ({ engine: executor.engine, ...(await executor.call({ kind: 'info' })) }),
    blobs: executor.blobs,
    ...(executor.maintain !== undefined && { maintain: executor.maintain.bind(executor) }),
    close: () => executor.close(),
  }
}
