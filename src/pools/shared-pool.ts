/**
 * A pool whose servers other threads send to as well. A slot that one of them gives back is free before the line here has heard of it: so whoever wants
 * one looks first whether somebody else waits, and whoever gets in line looks once more whether one is free now.
 */
import type { Wait, Waiter } from './line.ts'
import { Pool } from './pool.ts'
import type { Wanted } from './pool-types.ts'
import type { Server } from './server.ts'

export class SharedPool extends Pool {
  override acquire(wanted?: Wanted): Server | undefined {
    this.serveWaiting()
    return super.acquire(wanted)
  }

  override acquireFrom(server: Server): boolean | undefined {
    this.serveWaiting()
    return super.acquireFrom(server)
  }

  override reserve(server: Server): boolean {
    this.serveWaiting()
    return super.reserve(server)
  }

  override wait(waiter: Waiter, wait: Wait): (() => void) | 'full' | 'shed' {
    const joined = super.wait(waiter, wait)
    // A thread that gave one back before it could see that somebody waits has told nobody.
    if (typeof joined === 'function') queueMicrotask(() => this.serveWaiting())
    return joined
  }
}
