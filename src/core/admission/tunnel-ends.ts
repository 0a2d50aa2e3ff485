/**
 * When tunnels are ended that have to go, so that their clients do not all come back in the same moment; and which have to go so that a server
 * that has come gets its share.
 */
import type { Millis } from '../../lib/units.ts'

/** So many in a second come back without anybody's noticing. */
const UNNOTICED_PER_SECOND = 50
/** Of the time to drain: what is left is for tunnels to end in. */
const SPREAD_OF_DRAIN = 0.8

/** Over how long so many tunnels are ended, each at a random moment of it. */
export function endSpread(count: number, drainMs: Millis): Millis {
  return Math.min(SPREAD_OF_DRAIN * drainMs, (count * 1000) / UNNOTICED_PER_SECOND)
}

export interface TunnelShare {
  readonly tunnels: number
  readonly weight: number
}

/** How many more than its share each one has. What one more would be too much for stays where it is: it would only change places. */
export function excessTunnels(servers: readonly TunnelShare[]): readonly number[] {
  const tunnels = servers.reduce((sum, server) => sum + server.tunnels, 0)
  const weights = servers.reduce((sum, server) => sum + server.weight, 0)
  return servers.map((server) => (weights === 0 ? 0 : Math.max(0, server.tunnels - Math.ceil((tunnels * server.weight) / weights))))
}
