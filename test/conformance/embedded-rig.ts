/** A rig on the embedded engine in a folder of its own, which outlives the store in it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import { systemRandom } from '../../src/ports/system.ts'
import { openInProcess } from '../support/in-process-store.ts'
import { Rig, type StoreSource } from './rig.ts'

export function tempFolder(): { readonly path: string; readonly dispose: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'spillway-store-'))
  return { path, dispose: () => rmSync(path, { recursive: true, force: true }) }
}

export function embeddedSource(path: string): StoreSource {
  return {
    durable: true,
    open: (options) => openEmbeddedStore({ ...options, path, random: systemRandom }),
    dispose: () => rmSync(path, { recursive: true, force: true }),
  }
}

/** The same without its thread, and without syncs: what they are worth is tested where power is cut. */
export function inProcessSource(path: string): StoreSource {
  return {
    durable: true,
    open: async ({ clock, queues, events }) =>
      openInProcess({
        path,
        clock,
        queues,
        random: systemRandom,
        diskFloorBytes: 0,
        unsafeNoSync: true,
        events: {
          onSync: (took, operations) => events.onSync?.(took, operations),
          onCorrupt: (what) => events.onCorrupt?.(what),
        },
      }),
    dispose: () => rmSync(path, { recursive: true, force: true }),
  }
}

export class EmbeddedRig extends Rig {
  readonly path: string

  constructor(path: string) {
    super(embeddedSource(path))
    this.path = path
  }
}

export function embeddedRig(): EmbeddedRig {
  return new EmbeddedRig(tempFolder().path)
}
