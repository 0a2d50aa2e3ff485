/** What passes between the gateway's thread and the store thread. */
import type { EpochMillis, MonotonicMillis } from '../../lib/units.ts'
import type { EngineOptions } from './engine.ts'
import type { Batch, BatchReply, Notice } from './wire.ts'

export interface ThreadData {
  readonly options: EngineOptions
  readonly moment: { readonly now: EpochMillis; readonly monotonic: MonotonicMillis }
}

export type ToThread = { readonly kind: 'batch'; readonly batch: Batch } | { readonly kind: 'close' }

export type FromThread =
  | { readonly kind: 'open'; readonly notices: readonly Notice[] }
  | { readonly kind: 'open-failed'; readonly reason: string }
  | { readonly kind: 'reply'; readonly reply: BatchReply }
  | { readonly kind: 'fatal'; readonly message: string }
