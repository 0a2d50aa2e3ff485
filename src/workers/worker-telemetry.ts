/** What a worker tells of itself goes to the chief: events at once, access lines some at a time, what it has counted when somebody asks. */
import type { Millis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import { createMetrics } from '../telemetry/metrics.ts'
import type { AccessLine, GatewayEvent, Telemetry } from '../telemetry/telemetry.ts'
import type { ToChief } from './messages.ts'

const LINES_MS: Millis = 50
const LINES_MAX = 256

export interface WorkerTelemetry {
  readonly telemetry: Telemetry
  /** The same without events: the chief sees what there is to tell by himself. */
  readonly quiet: Telemetry
  flush(): void
}

export function createWorkerTelemetry(accessLog: boolean, clock: Clock, tell: (message: ToChief) => void): WorkerTelemetry {
  const metrics = createMetrics()
  let lines: AccessLine[] = []
  const flush = (): void => {
    if (lines.length === 0) return
    tell({ kind: 'access', lines })
    lines = []
  }
  const telemetry: Telemetry = {
    metrics,
    accessLog,
    event: (event: GatewayEvent) => tell({ kind: 'event', event }),
    access: (line) => {
      if (lines.length === 0) clock.after(LINES_MS, flush)
      lines.push(line)
      if (lines.length >= LINES_MAX) flush()
    },
    attempt: () => undefined,
    // Tunnels are the chief's.
    tunnel: () => undefined,
  }
  return { telemetry, quiet: { ...telemetry, event: () => undefined }, flush }
}
