/** One call on a ledger: the batch methods of the port, item by item. */
import type { Call, CallKind, ReplyByKind } from './calls.ts'
import type { Ledger } from './ledger.ts'

export type Reply = ReplyByKind[CallKind]

export function execute(ledger: Ledger, call: Call): Reply {
  switch (call.kind) {
    case 'submit':
      return call.jobs.map((job) => ledger.submit(job))
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
  }
}

/** How many secrets the call may need at most. */
export function secretsNeeded(call: Call): number {
  switch (call.kind) {
    case 'submit':
      return call.jobs.length
    case 'lease':
      return call.requests.reduce((sum, request) => sum + request.max, 0)
    default:
      return 0
  }
}

/** How many single operations the call is. */
export function operationsIn(call: Call): number {
  switch (call.kind) {
    case 'submit':
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
    case 'tick':
    case 'stats':
      return 1
  }
}
