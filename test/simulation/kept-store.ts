/**
 * Stores that outlive the gateway that uses them, in this process: the ledger over maps that stay when it is dropped, and the embedded engine on
 * files. To crash is to leave one behind without closing it in order, and to open the next one on what it wrote.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { StoreOptions } from '../../src/gateway-options.ts'
import type { Call, CallKind, CallOf, ReplyByKind } from '../../src/engines/ledger/calls.ts'
import { execute } from '../../src/engines/ledger/execute.ts'
import { jobStoreOver } from '../../src/engines/ledger/job-store-over.ts'
import { Ledger } from '../../src/engines/ledger/ledger.ts'
import type { Runnable, Tables } from '../../src/engines/ledger/tables.ts'
import { MemoryTables } from '../../src/engines/memory/memory-tables.ts'
import type { Blobs } from '../../src/ports/blobs.ts'
import type { JobStore } from '../../src/ports/job-store.ts'
import { openInProcess } from '../support/in-process-store.ts'

export interface KeptStore {
  readonly engine: string
  /** A new life of the store, after the one before was closed or dropped. */
  open(options: StoreOptions): JobStore
  /** The process that has it open is gone. */
  drop(): void
  remove(): void
}

export interface KeptTables {
  readonly tables: Tables
  readonly blobs: Blobs
  /** Called with each opening. */
  nextGeneration: () => void
}

/** The tables of the memory engine, and what they lack to be a disk. */
function keptTables(): KeptTables {
  const maps = new MemoryTables()
  const memory: Tables = maps
  const runnable = new Map<number, Runnable>()
  let generation = 0
  const clearIndexes = memory.clearIndexes.bind(memory)
  const tables = Object.assign(memory, {
    addRunnable: (job: Omit<Runnable, 'mark'>) => void runnable.set(job.seq, { ...job, mark: undefined }),
    markRunning: (seq: number, mark: string | undefined) => {
      const job = runnable.get(seq)
      if (job !== undefined) runnable.set(seq, { ...job, mark })
    },
    removeRunnable: (seq: number) => void runnable.delete(seq),
    runnable: () => runnable.values(),
    clearIndexes: () => {
      clearIndexes()
      runnable.clear()
    },
  })
  Object.defineProperty(tables, 'generation', { get: () => generation })
  return { tables, blobs: maps.blobs, nextGeneration: () => void generation++ }
}

/** `tamper`: for a canary, before anything is stored. */
export function keptMemory(tamper: (tables: KeptTables) => void = () => undefined): KeptStore {
  const kept = keptTables()
  const { tables, blobs } = kept
  tamper(kept)
  return {
    engine: 'memory',
    open({ clock, random, queues, events }) {
      kept.nextGeneration()
      const ledger = new Ledger(tables, { queues, onCorrupt: (what) => events.onCorrupt?.(what) })
      const secret = (): string => random.bytes(16).toString('base64url')
      const moment = () => ({ now: clock.now(), monotonic: clock.monotonic(), secret })
      ledger.begin(moment())
      ledger.voidOldLeases()
      ledger.commit()
      return jobStoreOver({
        engine: 'memory',
        blobs,
        async call<K extends CallKind>(call: CallOf<K> & Call): Promise<ReplyByKind[K]> {
          ledger.begin(moment())
          const reply = execute(ledger, call)
          ledger.commit()
          return reply as ReplyByKind[K]
        },
        close: async () => undefined,
      })
    },
    drop: () => undefined,
    remove: () => undefined,
  }
}

export function keptFiles(): KeptStore {
  const path = mkdtempSync(join(tmpdir(), 'spillway-simulation-'))
  let opened: JobStore | undefined
  return {
    engine: 'embedded',
    open({ clock, random, queues, events }) {
      const onCorrupt = (what: string): void => events.onCorrupt?.(what)
      opened = openInProcess({ path, queues, diskFloorBytes: 0, unsafeNoSync: true, clock, random, events: { onCorrupt } })
      return opened
    },
    // What was committed is there; the lock on the file has to go, as it would with the process.
    drop: () => void opened?.close(),
    remove: () => rmSync(path, { recursive: true, force: true }),
  }
}
