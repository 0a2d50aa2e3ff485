/**
 * How much one client may have at once: unfinished jobs that it has submitted, and watchers. A client is who shows the same identity (`bind` of a route), or
 * who comes from the same address. Counted in memory: a gateway that has just started counts from nothing, and one job is never counted twice.
 */
import { createHash } from 'node:crypto'
import type { BlockList } from 'node:net'
import type { BindSource, Config } from '../config/config.ts'
import { type Failure, failure } from '../core/errors.ts'
import { clientBehind } from '../core/headers/forwarded-for.ts'
import { headerValues } from '../http1/message.ts'
import { isEnded } from '../jobs/watch.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Call } from '../net/call.ts'
import { isInside, networkList } from '../net/networks.ts'
import type { Bus } from '../ports/bus.ts'
import type { Clock } from '../ports/clock.ts'
import type { JobId, JobStore } from '../ports/job-store.ts'
import { identityOf } from './binding.ts'

/** The bus may lose the end of a job. So whoever is at the limit is looked at again, no more often than this. */
const RECHECK_MS: Millis = 30_000
const READ_BATCH = 500
const RETRY_AFTER_SECONDS = 5

export interface ClientsParts {
  readonly config: Pick<Config, 'limits' | 'trustedPeers'>
  readonly store: Pick<JobStore, 'read'>
  readonly bus: Bus
  readonly clock: Clock
}

/** A place among the jobs of a client, taken before it is known whether there will be one. */
export interface JobPlace {
  /** It is this job's until it has ended. */
  holds(id: JobId): void
  /** There is no new job. */
  free(): void
}

interface Client {
  pending: number
  readonly jobs: Set<JobId>
  checkedAt: MonotonicMillis
}

export const NO_PLACE: JobPlace = { holds: () => undefined, free: () => undefined }

export class Clients {
  readonly #limits: { readonly jobs: number; readonly watchers: number }
  readonly #parts: ClientsParts
  readonly #trusted: BlockList
  readonly #clients = new Map<string, Client>()
  /** By job. */
  readonly #owners = new Map<JobId, string>()
  readonly #watchers = new Map<string, number>()

  constructor(parts: ClientsParts) {
    this.#parts = parts
    this.#limits = parts.config.limits.perClient
    this.#trusted = networkList(parts.config.trustedPeers)
    if (this.#limits.jobs === 0) return
    parts.bus.subscribe((event) => {
      if (event.kind === 'job' && isEnded(event.job.status)) this.#ended(event.job.id)
    })
  }

  /** Is there a limit at all? */
  get countsJobs(): boolean {
    return this.#limits.jobs > 0
  }

  /** Who calls. No credential stays in memory by it. */
  nameOf(call: Pick<Call, 'head' | 'peer'>, source: BindSource | undefined): string {
    const { head } = call
    const identity = source === undefined ? undefined : identityOf(source, head.headers)
    if (source !== undefined && identity !== undefined) {
      return createHash('sha256').update(`${source.from}:${source.name}\n${identity}`).digest('base64url')
    }
    return this.addressOf(call)
  }

  /** Of who called, behind proxies that are trusted. */
  addressOf({ head, peer }: { readonly head: Pick<Call['head'], 'headers'>; readonly peer: Call['peer'] }): string {
    return clientBehind(peer.address, headerValues(head.headers, 'x-forwarded-for'), (address) => isInside(this.#trusted, address))
  }

  /** A failure: it has as many unfinished jobs as it may. */
  async takeJob(name: string): Promise<JobPlace | Failure> {
    const { jobs: max } = this.#limits
    if (max === 0) return NO_PLACE
    const known = this.#clients.get(name)
    // Where the store cannot be asked, it is as full as it seemed.
    if (known !== undefined && isFull(known, max)) await this.#recheck(known).catch(() => undefined)
    const client = this.#client(name)
    if (isFull(client, max)) {
      return failure(
        'too_many_jobs',
        `${max} jobs of this client have not ended, as many as there may be (limits.perClient.jobs).`,
        RETRY_AFTER_SECONDS,
      )
    }
    client.pending++
    return {
      holds: (id) => {
        client.pending--
        client.jobs.add(id)
        this.#owners.set(id, name)
      },
      free: () => {
        client.pending--
        this.#forget(name, client)
      },
    }
  }

  /** What ends it, to be called once; a failure: it has as many watchers as it may. */
  takeWatch(name: string): (() => void) | Failure {
    const { watchers: max } = this.#limits
    if (max === 0) return () => undefined
    const count = this.#watchers.get(name) ?? 0
    if (count >= max) {
      return failure(
        'too_many_watchers',
        `${max} waits, streams and sockets of this client are open, as many as there may be (limits.perClient.watchers).`,
        RETRY_AFTER_SECONDS,
      )
    }
    this.#watchers.set(name, count + 1)
    return () => {
      const left = (this.#watchers.get(name) ?? 1) - 1
      if (left === 0) this.#watchers.delete(name)
      else this.#watchers.set(name, left)
    }
  }

  #client(name: string): Client {
    let client = this.#clients.get(name)
    if (client === undefined) {
      client = { pending: 0, jobs: new Set(), checkedAt: Number.NEGATIVE_INFINITY }
      this.#clients.set(name, client)
    }
    return client
  }

  #ended(id: JobId): void {
    const name = this.#owners.get(id)
    const client = name === undefined ? undefined : this.#clients.get(name)
    if (name === undefined || client === undefined) return
    this.#owners.delete(id)
    client.jobs.delete(id)
    this.#forget(name, client)
  }

  #forget(name: string, client: Client): void {
    if (client.pending === 0 && client.jobs.size === 0) this.#clients.delete(name)
  }

  async #recheck(client: Client): Promise<void> {
    const now = this.#parts.clock.monotonic()
    if (now - client.checkedAt < RECHECK_MS) return
    client.checkedAt = now
    const ids = [...client.jobs]
    for (let at = 0; at < ids.length; at += READ_BATCH) {
      const batch = ids.slice(at, at + READ_BATCH)
      const reads = await this.#parts.store.read(batch, 'status')
      for (const [i, read] of reads.entries()) if (read === undefined || isEnded(read.job.status)) this.#ended(batch[i] as JobId)
    }
  }
}

function isFull({ pending, jobs }: Client, max: number): boolean {
  return pending + jobs.size >= max
}
