/** What the chief and its workers tell each other. Everything in here is copied on its way. */
import type { Config, HostPort, PoolConfig } from '../config/config.ts'
import type { Millis } from '../lib/units.ts'
import type { Followed } from '../pools/pool-types.ts'
import type { PoolMember } from '../pools/server.ts'
import type { AccessLine, GatewayEvent, MetricsDump } from '../telemetry/telemetry.ts'

export interface PoolView {
  readonly config: PoolConfig
  /** Of its signs on the board. */
  readonly index: number
  readonly members: readonly PoolMember[]
  /** Of its servers, those that leave among them, where they are counted on the board. */
  readonly cells: readonly (readonly [server: string, cell: number])[]
  readonly followed: readonly Followed[]
}

/** An address that a worker listens on, and what it needs for that. */
export interface WorkerListener {
  /** As it is bound: no port is left to the system. */
  readonly address: HostPort
  /** Bound by somebody else, for this worker. */
  readonly fd?: number | undefined
  /** Of TLS sessions, the same in all threads. */
  readonly ticketKeys?: Uint8Array | undefined
}

export type RouteIndex = readonly [route: string, index: number]

export interface WorkerData {
  readonly worker: number
  readonly config: Config
  readonly board: SharedArrayBuffer
  readonly chief: HostPort
  readonly secret: string
  readonly listeners: readonly WorkerListener[]
  readonly pools: readonly PoolView[]
  /** Where their signs are on the board. What has none is the chief's. */
  readonly routes: readonly RouteIndex[]
  readonly accessLog: boolean
}

export type ToWorker =
  /** With the pools that its routes name: no request may meet the one without the other. */
  | { readonly kind: 'config'; readonly config: Config; readonly routes: readonly RouteIndex[]; readonly pools: readonly PoolView[] }
  /** All that there are. */
  | { readonly kind: 'pools'; readonly pools: readonly PoolView[] }
  | { readonly kind: 'tickets'; readonly listener: number; readonly keys: Uint8Array }
  | { readonly kind: 'metrics' }
  /** Accepts nothing more; says `drained` when the last call has ended. */
  | { readonly kind: 'drain' }

/** What a worker has met at a server. */
export type Finding =
  | { readonly kind: 'unreachable'; readonly pool: string; readonly server: string; readonly reason: string }
  | { readonly kind: 'broken'; readonly pool: string; readonly server: string }
  | { readonly kind: 'busy'; readonly pool: string; readonly server: string; readonly forMs: Millis }
  /** So many ended well, and then perhaps one that did not. */
  | { readonly kind: 'ended'; readonly pool: string; readonly server: string; readonly well: number; readonly failed: boolean }
  /** Of itself, in fields of an answer that are for the gateway. */
  | { readonly kind: 'said'; readonly pool: string; readonly server: string; readonly headers: readonly string[] }
  /** The machine lacks what a connection takes. */
  | { readonly kind: 'shortage'; readonly pool: string; readonly errno: string }
  | { readonly kind: 'live'; readonly pool: string; readonly came: number; readonly answered: number; readonly answeredMs: Millis }

export type ToChief =
  /** It listens; `fds`: of its sockets, in the order of the listeners. */
  | { readonly kind: 'ready'; readonly fds: readonly number[] }
  | { readonly kind: 'failed'; readonly message: string; readonly code?: string | undefined }
  | { readonly kind: 'found'; readonly findings: readonly Finding[] }
  /** A slot that the chief waits for is free. */
  | { readonly kind: 'freed'; readonly pool: string }
  | { readonly kind: 'event'; readonly event: GatewayEvent }
  | { readonly kind: 'access'; readonly lines: readonly AccessLine[] }
  | { readonly kind: 'metrics'; readonly dump: MetricsDump }
  /** It drains, and on none of its connections a request may still be on its way to it. */
  | { readonly kind: 'quiet' }
  | { readonly kind: 'drained' }
