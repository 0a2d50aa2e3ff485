/** What jobs get of a pool's slots: those that nobody waits for, less what is kept for live requests; and, where a line never ends, a turn now and then. */
import type { PoolConfig } from '../config/config.ts'
import type { Millis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { LiveTraffic } from './live-traffic.ts'
import type { LineSigns, SlotSeeker } from './pool-types.ts'
import type { Server } from './server.ts'

/** While requests wait without end, jobs get a slot of a server after it had none for so long, and for so many times as long as the last one had it. */
const JOBS_TURN_MS: Millis = 1_000
const JOBS_TURN_TIMES = 4

export interface JobSlotsParts {
  readonly clock: Clock
  readonly live: LiveTraffic
  readonly config: () => PoolConfig
  /** To other threads: a job that found no slot is to be told when one is free. */
  readonly signs: LineSigns | undefined
}

export class JobSlots {
  readonly #parts: JobSlotsParts
  readonly #seekers = new Set<SlotSeeker>()

  constructor(parts: JobSlotsParts) {
    this.#parts = parts
  }

  onSlotFree(seeker: SlotSeeker): () => void {
    this.#seekers.add(seeker)
    return () => void this.#seekers.delete(seeker)
  }

  offer(server: Server): void {
    for (const seeker of this.#seekers) seeker.slotFree(server)
  }

  /** While live requests come some are kept for them; one of each server is the jobs' in any case. */
  take(server: Server, free: () => number): boolean {
    const { signs } = this.#parts
    if (this.#take(server, free())) return true
    if (signs === undefined) return false
    signs.isHungry()
    // A thread that gave one back before it could see that has told nobody.
    return this.#take(server, free())
  }

  #take(server: Server, free: number): boolean {
    const { clock, live } = this.#parts
    const now = clock.monotonic()
    const kept = server.jobs >= this.#max(server) && live.comes(now)
    if (free === 0 || kept || !server.taken.take(server.slots)) return false
    server.jobs++
    server.jobsFrom = now
    return true
  }

  ended(server: Server): void {
    if (--server.jobs === 0) server.jobsUntil = this.#parts.clock.monotonic()
  }

  /** A line that never ends would keep a backlog from ever being worked off: so its jobs have a fifth of the time of one slot. */
  isTurn(server: Server): boolean {
    if (server.jobs > 0) return false
    const restMs = Math.max(JOBS_TURN_MS, JOBS_TURN_TIMES * (server.jobsUntil - server.jobsFrom))
    if (this.#parts.clock.monotonic() - server.jobsUntil < restMs) return false
    for (const seeker of this.#seekers) if (seeker.wants(server)) return true
    return false
  }

  /** Jobs on a server, while live requests come. */
  #max({ slots }: Server): number {
    return Math.max(1, slots - Math.floor(slots * this.#parts.config().reserve))
  }
}
