/** Backup and verification of a store that goes on meanwhile: borrows the files from the store thread, has the work done by a third one, gives them back. */
import { Worker } from 'node:worker_threads'
import type { Bytes, EpochMillis } from '../../lib/units.ts'
import type { Maintenance, MaintenanceReport } from '../../ports/job-store.ts'
import type { HeldFiles } from './engine.ts'
import type { FromMaintenance, MaintenanceData } from './maintenance-thread.ts'

export interface Lender {
  hold(): Promise<HeldFiles>
  /** `log`: database and log, but the bodies are still needed. */
  release(what: 'log' | 'all'): void
}

export interface MaintenancePlace {
  readonly storePath: string
  readonly floorBytes: Bytes
  readonly now: () => EpochMillis
}

export class MaintenanceDesk {
  readonly #lender: Lender
  readonly #place: MaintenancePlace
  #running: { readonly ended: Promise<unknown>; stop(): void } | undefined

  constructor(lender: Lender, place: MaintenancePlace) {
    this.#lender = lender
    this.#place = place
  }

  /** One at a time. Rejects when the store failed or was closed. */
  async run(work: Maintenance): Promise<MaintenanceReport> {
    if (this.#running !== undefined) return { ok: false, jobs: 0, bytes: 0, problems: ['another backup or verification is under way'] }
    let stopped = false
    let worker: Worker | undefined
    const report = this.#lender.hold().then((files) => {
      if (stopped) throw new Error('the store was closed')
      const { storePath, floorBytes, now } = this.#place
      worker = startWorker({ work, files, storePath, floorBytes, now: now() })
      return this.#reportOf(worker)
    })
    const stop = (): void => {
      stopped = true
      void worker?.terminate()
    }
    this.#running = { ended: report.catch(() => undefined), stop }
    try {
      return await report
    } finally {
      this.#running = undefined
      this.#lender.release('all')
    }
  }

  /** Breaks off what runs. What it leaves is called `.partial`, or removed with the next start. */
  async close(): Promise<void> {
    this.#running?.stop()
    await this.#running?.ended
  }

  #reportOf(worker: Worker): Promise<MaintenanceReport> {
    return new Promise((resolve, reject) => {
      worker.on('message', (message: FromMaintenance) => {
        if (message.kind === 'copied') this.#lender.release('log')
        else resolve(message.report)
      })
      worker.on('error', reject)
      worker.on('exit', () => reject(new Error('the store was closed before the work was done')))
    })
  }
}

function startWorker(data: MaintenanceData): Worker {
  // Run from source or built, the thread's module has the same ending as this one.
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  return new Worker(new URL(`./maintenance-thread.${ending}`, import.meta.url), { workerData: data, name: 'store-maintenance' })
}
