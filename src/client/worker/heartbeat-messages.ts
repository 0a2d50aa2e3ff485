/** Between the worker and the thread that extends its leases. */

export interface HeartbeatData {
  readonly apiUrl: string
  readonly token: string | undefined
  readonly queue: string
  readonly timeoutMs: number
  readonly stuckAfterMs: number
  /** One number that the main thread's event loop keeps changing. */
  readonly beat: SharedArrayBuffer
}

export type ToHeartbeat =
  | { readonly kind: 'add'; readonly leases: readonly { readonly receipt: string; readonly leaseMs: number }[] }
  | { readonly kind: 'remove'; readonly receipts: readonly string[] }
  | { readonly kind: 'stop' }

export type FromHeartbeat =
  | { readonly kind: 'ready' }
  | { readonly kind: 'lost'; readonly receipts: readonly string[] }
  | { readonly kind: 'stuck'; readonly blockedMs: number }
