/**
 * Wake-ups and job events between the parts of a gateway, and later between gateways.
 * It may lose messages: every waiter also has a deadline and re-reads.
 */
import type { JobAnswer, QueueName, StoredJob } from './job-store.ts'

export type BusEvent =
  /** Something in this queue may be ready to hand out, or is as soon as the store has done what it is asked for in this turn of the event loop. */
  | { readonly kind: 'ready'; readonly queue: QueueName }
  /** A job changed visibly; `answer` rides along when the publisher has it in hand. */
  | { readonly kind: 'job'; readonly job: StoredJob; readonly answer?: JobAnswer }

export type Unsubscribe = () => void

export interface Bus {
  publish(event: BusEvent): void
  subscribe(listener: (event: BusEvent) => void): Unsubscribe
}
