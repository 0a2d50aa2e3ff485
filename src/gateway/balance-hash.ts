/** What binds a direct request to a server, in pools that balance by hash. Nothing there: any server will do. */
import type { Clients } from '../api/clients.ts'
import type { Balance, BalanceSource } from '../config/config.ts'
import type { RouteMatch } from '../core/routing/router.ts'
import { extractKey } from '../jobs/key.ts'
import { hash32 } from '../lib/hash.ts'
import type { Call } from '../net/call.ts'

const NO_BODY = new Uint8Array(0)

export function balanceHash(balance: Balance, call: Call, { params }: RouteMatch, clients: Pick<Clients, 'addressOf'>): number | undefined {
  if (typeof balance === 'string') return undefined
  const value = shownBy(balance.by, call, params, clients)
  return value === undefined ? undefined : hash32(value)
}

/** What the call shows of that. */
export function shownBy(
  { from, name }: BalanceSource,
  call: Call,
  params: RouteMatch['params'],
  clients: Pick<Clients, 'addressOf'>,
): string | undefined {
  switch (from) {
    case 'address':
      return clients.addressOf(call)
    case 'target':
      return call.head.path
    default:
      return extractKey({ from, name }, { head: call.head, params, body: NO_BODY })
  }
}
