/** One call on a ledger: the batch methods of the port, item by item. */
import type { Bytes } from '../../lib/units.ts'
import type { Call, CallKind, ReplyByKind } from './calls.ts'
import type { Ledger } from './ledger.ts'
import { SCHEDULED_JOBS_PER_TICK } from './schedules.ts'
import { type Payload, payloadBytes } from './tables.ts'

export type Reply = ReplyByKind[CallKind]

export function execute(ledger: Ledger, call: Call): Reply {
  switch (call.kind) {
    case 'submit':
      return call.jobs.map((job) => ledger.submit(job))
    case 'submitWhole':
      return ledger.submitWhole(call.jobs, call.note)
    case 'lease':
      return call.requests.map((request) => ledger.lease(request))
    case 'extend':
      return call.leases.map((ref) => ledger.extend(ref, call.forMs))
    case 'settle':
      return call.settlements.map((settlement) => ledger.settle(settlement))
    case 'command':
      return call.commands.map((command) => ledger.command(command))
    case 'read':
      return call.ids.map((id) => ledger.read(id, call.want))
    case 'tick':
      return ledger.tick()
    case 'stats':
      return ledger.stats()
    case 'browse':
      return ledger.browse(call.request)
    case 'keys':
      return ledger.keys(call.request)
    case 'held':
      return call.keys.map((each) => ledger.held(each))
    case 'followUps':
      return ledger.followUps(call.max, call.after)
    case 'notes':
      return ledger.notes(call.prefix)
    case 'schedules':
      return ledger.schedules.list()
    case 'tasks':
      return ledger.tasks.list()
    case 'info':
      return ledger.info()
  }
}

/** Of the bodies and heads that the reply brings. */
export function replyBytes(call: Call, reply: Reply): Bytes {
  if (call.kind === 'lease') {
    const leases = (reply as ReplyByKind['lease']).flat()
    return leases.reduce((sum, lease) => sum + payloadBytes(lease.request), 0)
  }
  if (call.kind !== 'read') return 0
  return (reply as ReplyByKind['read']).reduce((sum, read) => sum + optionalBytes(read?.answer) + optionalBytes(read?.request), 0)
}

function optionalBytes(payload: Payload | undefined): Bytes {
  return payload === undefined ? 0 : payloadBytes(payload)
}

/** How many secrets the call draws at most: one for each job, one for each lease. */
export function secretsNeeded(call: Call): number {
  switch (call.kind) {
    case 'submit':
    case 'submitWhole':
      return call.jobs.length
    case 'lease':
      return call.requests.reduce((sum, request) => sum + Math.max(0, Math.ceil(request.max)), 0)
    case 'tick':
      return SCHEDULED_JOBS_PER_TICK
    default:
      return 0
  }
}

/** How many single operations the call is. */
export function operationsIn(call: Call): number {
  switch (call.kind) {
    case 'submit':
    case 'submitWhole':
      return call.jobs.length
    case 'lease':
      return call.requests.length
    case 'extend':
      return call.leases.length
    case 'settle':
      return call.settlements.length
    case 'command':
      return call.commands.length
    case 'read':
      return call.ids.length
    case 'held':
      return call.keys.length
    default:
      return 1
  }
}
