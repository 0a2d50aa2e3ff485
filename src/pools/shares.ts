/** What each server of a pool may have just now, of the requests (weight) and at once (slots). */
import type { PoolConfig } from '../config/config.ts'
import { slowStartShare } from '../core/health/slow-start.ts'
import type { MonotonicMillis } from '../lib/units.ts'
import type { Server } from './server.ts'

/** Servers that came back, or came later, have a share that grows. True: somebody's does. */
export function setShares(servers: readonly Server[], { slowStartMs, maxInFlight }: PoolConfig, now: MonotonicMillis): boolean {
  let ramping = false
  const isWarm = ({ state, returned, upSince }: Server): boolean => state === 'up' && !(returned && now - upSince < slowStartMs)
  const someAreWarm = servers.some(isWarm)
  for (const server of servers) {
    const share = server.returned ? slowStartShare(now - server.upSince, slowStartMs) : 1
    const most = server.limit?.limit ?? maxInFlight
    // Where all are new, as after a change of all servers at once, nobody else could take what they do not.
    const slots = server.isNew && !someAreWarm ? most : Math.ceil(most * share)
    server.weight = server.configuredWeight * share * server.loadFactor
    // On probation one at a time shows how it is.
    server.slots = server.conduct.standing === 'probation' ? 1 : slots
    if (share < 1) ramping = true
  }
  return ramping
}
