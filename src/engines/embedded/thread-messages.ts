/** What passes between the gateway's thread and the store thread. */
import type { EpochMillis, MonotonicMillis } from '../../lib/units.ts'
import type { EngineOptions, HeldFiles } from './engine.ts'
import type { Batch, BatchReply, Notice } from './wire.ts'

export interface ThreadData {
  readonly options: EngineOptions
  readonly moment: { readonly now: EpochMillis; readonly monotonic: MonotonicMillis }
}

export type ToThread =
  | { readonly kind: 'batch'; readonly batch: Batch }
  /** Between two batches: the files stay as they are until they are released. */
  | { readonly kind: 'hold' }
  | { readonly kind: 'release'; readonly what: 'log' | 'all' }
  | { readonly kind: 'close' }

export type FromThread =
  | { readonly kind: 'open'; readonly notices: readonly Notice[] }
  | { readonly kind: 'open-failed'; readonly reason: string }
  | { readonly kind: 'reply'; readonly reply: BatchReply }
  | { readonly kind: 'held'; readonly files: HeldFiles }
  | { readonly kind: 'not-held'; readonly reason: string }
  | { readonly kind: 'fatal'; readonly message: string }
