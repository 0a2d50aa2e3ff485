/** A queue as it was kept in the store: what its document says, as far as that can still be followed. */
import type { Config } from '../config/config.ts'
import { readQueueDocument } from '../config/documents.ts'
import { defaultQueue } from '../config/resolve-queues.ts'
import type { QueueName } from '../ports/job-store.ts'
import { type DefinedQueue, storedDefinition } from './definitions.ts'

export interface Restored {
  readonly queue: DefinedQueue
  /** Why it is not quite what was asked for. */
  readonly problem?: string
}

export function restoredQueue(name: QueueName, definition: string | undefined, config: Config): Restored {
  const stored = storedDefinition(definition)
  // Without a definition it was in a configuration before: its jobs stay, but nobody works them off.
  if (stored?.origin !== 'api') return { queue: { config: { ...defaultQueue(name), pull: false }, origin: 'none' } }
  const { document } = stored
  const read = readQueueDocument(name, document, config)
  if ('value' in read) return { queue: { config: read.value, origin: 'api', document } }
  return {
    queue: { config: defaultQueue(name), origin: 'api', document },
    problem: `its definition no longer holds: ${read.wrong}; the defaults do`,
  }
}
