/** The embedded engine without its thread, so that a test can make a great many short lives of it. Everything passes the wire format all the same. */
import { BlobFiles } from '../../src/engines/embedded/blob-files.ts'
import { EmbeddedEngine, type EngineEvents, type EngineOptions } from '../../src/engines/embedded/engine.ts'
import { decodeBatch, decodeReply, encodeBatch, encodeReply, SECRET_BYTES } from '../../src/engines/embedded/wire.ts'
import type { Call, CallKind, CallOf, ReplyByKind } from '../../src/engines/ledger/calls.ts'
import { secretsNeeded } from '../../src/engines/ledger/execute.ts'
import { type Executor, jobStoreOver } from '../../src/engines/ledger/job-store-over.ts'
import type { Clock, Random } from '../../src/ports/clock.ts'
import type { JobStore } from '../../src/ports/job-store.ts'

export interface InProcessOptions extends EngineOptions {
  readonly clock: Clock
  readonly random: Random
  readonly events?: Partial<EngineEvents>
}

export function openInProcess(options: InProcessOptions): JobStore {
  const { clock, random, events, ...engineOptions } = options
  const moment = (): { now: number; monotonic: number } => ({ now: clock.now(), monotonic: clock.monotonic() })
  const all: EngineEvents = { onSync() {}, onCorrupt() {}, ...events }
  const engine = new EmbeddedEngine(engineOptions, all, { ...moment(), secret: () => '' })
  let closed = false
  const { path: storePath, diskFloorBytes: floorBytes, unsafeNoSync = false } = engineOptions
  const isKept = async (id: string): Promise<boolean> => (await executor.call({ kind: 'read', ids: [id], want: 'status' }))[0] !== undefined
  const blobs = new BlobFiles({ storePath, random, floorBytes, unsafeNoSync, onCorrupt: (what) => all.onCorrupt(what), isKept })
  const executor: Executor = {
    engine: 'embedded',
    blobs,
    async call<K extends CallKind>(call: CallOf<K> & Call): Promise<ReplyByKind[K]> {
      if (closed) throw new Error('the store is closed')
      const batch = encodeBatch([call], moment(), random.bytes(secretsNeeded(call) * SECRET_BYTES))
      const { calls, context } = decodeBatch(batch)
      const reply = encodeReply(engine.run(calls, context), calls, [])
      engine.checkpoint()
      const [result] = decodeReply(reply, calls)
      if (result === undefined || 'error' in result) throw new Error(result?.error ?? 'no answer')
      return result.reply as ReplyByKind[K]
    },
    async close() {
      if (closed) return
      closed = true
      engine.close()
      await blobs.close()
    },
  }
  return jobStoreOver(executor)
}
