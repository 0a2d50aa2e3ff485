/** What a gateway is given when it starts, and what can be done with it while it runs. */
import type { startAdmin } from './admin/admin.ts'
import type { ReloadOutcome } from './admin/reloading.ts'
import type { Upgrading } from './admin/upgrading.ts'
import type { Config, HostPort } from './config/config.ts'
import type { LoadResult } from './config/load.ts'
import type { EmbeddedStoreOptions } from './engines/embedded/embedded-store.ts'
import type { Clock, Random } from './ports/clock.ts'
import type { JobStore } from './ports/job-store.ts'
import type { Network, Resolver } from './ports/network.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import type { SenderParts } from './webhooks/sender.ts'

export interface GatewayOptions {
  readonly telemetry: Telemetry
  readonly version?: string
  readonly clock?: Clock
  readonly random?: Random
  readonly network?: Network
  /** For names of servers, and for webhooks, which are sent over node:http, outside of `network`. */
  readonly resolver?: Resolver
  /** Instead of the system's sockets, for them, too. */
  readonly webhookAgents?: SenderParts['agents']
  /** Has another process take over from this one. */
  readonly upgrading?: Upgrading
  /** Sockets of other threads: those that were bound for them, and those that they have bound. */
  readonly workerSockets?: WorkerSockets
  /** Reads the configuration anew, for a reload. */
  readonly readConfig?: () => Promise<LoadResult>
  /** Instead of the engine that the configuration names. */
  readonly openStore?: (options: StoreOptions) => Promise<JobStore> | JobStore
  /** Instead of the admin address: it stands on node:http, outside of `network`. */
  readonly startAdmin?: typeof startAdmin
}

export interface WorkerSockets {
  /** Is there one more that is bound to this address? */
  has(address: string): boolean
  /** One that is bound to it already. */
  take(address: string): number | undefined
  /** Those on which workers listen now. Set by the gateway. */
  bound: () => readonly { readonly address: string; readonly fd: number }[]
}

export type StoreOptions = Pick<EmbeddedStoreOptions, 'clock' | 'random' | 'queues' | 'limits' | 'events'>

export interface Gateway {
  /** As they are really listened on, in the order of the configuration. */
  readonly listeners: readonly HostPort[]
  readonly admin: HostPort
  /** What holds now. */
  readonly config: Config
  /** Resolves when the gateway must not go on: the store could not sync. */
  readonly fatal: Promise<Error>
  /**
   * Reads the configuration again and holds to it from then on, as far as that can be done without a restart: no call, attempt or connection
   * is dropped. One that is wrong changes nothing.
   */
  reload(): Promise<ReloadOutcome>
  /** Hands out no job any more, and resolves when those that run have ended, for at most `drainTimeout`. All else goes on. */
  rest(): Promise<void>
  /**
   * After `rest`: gives up what only one process can have. Nothing is accepted any more, whoever waits for a job is told to come again, and the
   * store and the admin address are closed. Calls that need no store go on.
   */
  giveUp(): Promise<void>
  /** After `giveUp`: resolves when the last calls have ended, or `drainTimeout` is over. */
  finish(): Promise<void>
  /** Stops accepting and lets what runs end, for at most `drainTimeout`; what does not is handed back. */
  drain(): Promise<void>
  /** Ends everything at once; after `drain`, cleanly. */
  close(): Promise<void>
}
