/** Servers as another thread knows them, who looks at them: what it has found out holds here, too. */
import type { MonotonicMillis } from '../lib/units.ts'
import type { Followed } from './pool-types.ts'
import type { Server, ServerState } from './server.ts'

export interface Following {
  readonly now: MonotonicMillis
  readonly enter: (server: Server, to: ServerState, because: string) => void
}

export function follow(servers: readonly Server[], seen: readonly Followed[], { now, enter }: Following): void {
  const byName = new Map(servers.map((server) => [server.name, server]))
  for (const { name, state, because, standing, upForMs, pausedForMs, returned, ...known } of seen) {
    const server = byName.get(name)
    if (server === undefined) continue
    Object.assign(server, known)
    server.conduct.standing = standing
    if (server.state !== state) enter(server, state, because)
    if (state === 'up') Object.assign(server, { returned, upSince: now - upForMs })
    server.pausedUntil = pausedForMs > 0 ? now + pausedForMs : 0
  }
}
