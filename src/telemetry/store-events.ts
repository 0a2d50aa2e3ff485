/** What an engine tells about itself, turned into metrics and events. What a fatal error means (stop the process) is its owner's to do. */
import type { StoreEvents } from '../ports/job-store.ts'
import { METRICS } from './names.ts'
import type { Telemetry } from './telemetry.ts'

/** A sync this slow is worth a line. */
const SLOW_SYNC_MS = 500

export function storeTelemetry(telemetry: Telemetry): Required<Pick<StoreEvents, 'onSync' | 'onCorrupt'>> {
  const { metrics } = telemetry
  const syncs = metrics.counter('spillway_store_syncs_total', METRICS.spillway_store_syncs_total.help)
  const operations = metrics.counter('spillway_store_operations_total', METRICS.spillway_store_operations_total.help)
  const seconds = metrics.histogram('spillway_store_sync_seconds', METRICS.spillway_store_sync_seconds.help)
  return {
    onSync(tookMs, count) {
      syncs.inc()
      operations.inc(count)
      seconds.observe(tookMs / 1000)
      if (tookMs >= SLOW_SYNC_MS) telemetry.event({ type: 'sync-slow', tookMs, operations: count })
    },
    onCorrupt(what) {
      telemetry.event({ type: 'store-corrupt', what })
    },
  }
}
