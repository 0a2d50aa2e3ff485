/**
 * The telemetry of one gateway: metrics, event lines for people or machines, access and attempt lines.
 * Nothing in here waits for a disk or a reader: what they cannot take is dropped and counted; the last words before a fatal exit are not.
 */
import type { EpochMillis } from '../lib/units.ts'
import { accessPlain, attemptPlain, tunnelPlain } from './access-plain.ts'
import { accessText, attemptText, tunnelText } from './access-text.ts'
import { createEventText, eventLevel, type EventText } from './event-text.ts'
import { LineWriter } from './line-writer.ts'
import { createMetrics } from './metrics.ts'
import { METRICS, type MetricName } from './names.ts'
import { registerProcessMetrics } from './process-metrics.ts'
import type { AccessLine, AttemptLine, Counter, GatewayEvent, Metrics, Telemetry, TunnelLine } from './telemetry.ts'

export interface TelemetryOptions {
  readonly format: 'text' | 'json'
  /** `off`, `stdout`, or a file's path. */
  readonly access: string
  /** Default `json`. */
  readonly accessFormat?: 'text' | 'json' | undefined
  /** Takes event lines; standard output when absent. */
  readonly write?: (line: string) => void
  readonly version?: string
  readonly now?: () => EpochMillis
  /** Lines of one event type per second; more are counted and summed up. Default 50. */
  readonly eventsPerSecond?: number
  /** UTF-16 units of lines that may wait for a slow disk or reader, per output. Default 4 Mi. */
  readonly bufferedMax?: number
  /** Label sets per metric. Default 2000. */
  readonly seriesMax?: number
}

/** Held by who created it; everybody else sees a `Telemetry`. */
export interface OwnedTelemetry extends Telemetry {
  /** Writes out what is buffered, blocking: for the way to `process.exit`. */
  flushSync(): void
  /** Writes out what is buffered and releases files and timers. */
  close(): Promise<void>
}

const EVENTS_PER_SECOND = 50
const BUFFERED_MAX = 4 * 1024 * 1024
const ACCESS_DELAY_MS = 50
const STDOUT = 1

/** Lets the first `perSecond` events of a type through and says afterwards how many it kept back. */
class EventThrottle {
  private readonly windows = new Map<string, { endsAt: EpochMillis; count: number }>()
  private readonly perSecond: number

  constructor(perSecond: number) {
    this.perSecond = perSecond
  }

  /** `kept`: how many of this type the window that just ended had kept back. */
  pass(type: string, now: EpochMillis): { readonly passes: boolean; readonly kept: number } {
    const window = this.windows.get(type)
    // A wall clock that jumped back must not silence a type until it has caught up.
    if (window === undefined || now >= window.endsAt || now < window.endsAt - 1000) {
      this.windows.set(type, { endsAt: now + 1000, count: 1 })
      return { passes: true, kept: Math.max(0, (window?.count ?? 0) - this.perSecond) }
    }
    window.count++
    return { passes: window.count <= this.perSecond, kept: 0 }
  }
}

function keptText(type: string, kept: number): GatewayEvent {
  return { type: 'warning', message: `${kept} more events of type ${type} came within a second and were only counted` }
}

interface LineTexts {
  access(line: AccessLine): string
  attempt(line: AttemptLine): string
  tunnel(line: TunnelLine): string
}

const JSON_LINES: LineTexts = { access: accessText, attempt: attemptText, tunnel: tunnelText }
const PLAIN: LineTexts = { access: accessPlain, attempt: attemptPlain, tunnel: tunnelPlain }

class GatewayTelemetry implements OwnedTelemetry {
  readonly metrics: Metrics
  readonly accessLog: boolean
  private readonly format: 'text' | 'json'
  private readonly now: () => EpochMillis
  private readonly text: EventText
  private readonly throttle: EventThrottle
  private readonly eventWriter: LineWriter | undefined
  private readonly accessWriter: LineWriter | undefined
  private readonly lines: LineTexts
  private readonly writeEvent: (line: string) => void
  private readonly stopSampling: () => void
  /** By name and labels. Event types, queues and outcomes are few. */
  private readonly eventCounters = new Map<string, Counter>()
  private configRefused = 0

  constructor(options: TelemetryOptions) {
    this.format = options.format
    this.now = options.now ?? Date.now
    this.metrics = createMetrics(options.seriesMax === undefined ? {} : { seriesMax: options.seriesMax })
    this.accessLog = options.access !== 'off'
    this.lines = options.accessFormat === 'text' ? PLAIN : JSON_LINES
    this.throttle = new EventThrottle(options.eventsPerSecond ?? EVENTS_PER_SECOND)
    const bufferedMax = options.bufferedMax ?? BUFFERED_MAX
    const dropped = (name: MetricName) => {
      const counter = this.metrics.counter(name, METRICS[name].help)
      return (lines: number): void => counter.inc(lines)
    }
    if (this.accessLog) {
      const target = options.access === 'stdout' ? STDOUT : options.access
      const onDrop = dropped('spillway_access_lines_dropped_total')
      this.accessWriter = new LineWriter(target, { bufferedMax, delayMs: ACCESS_DELAY_MS, onDrop })
    }
    if (options.write === undefined) {
      const onDrop = dropped('spillway_event_lines_dropped_total')
      this.eventWriter = new LineWriter(STDOUT, { bufferedMax, delayMs: 0, onDrop })
    }
    this.writeEvent = options.write ?? ((line) => this.eventWriter?.write(line))
    this.text = createEventText({ write: (line) => this.writeEvent(line) })
    this.metrics.gauge('spillway_config_refused', METRICS.spillway_config_refused.help, () => [{ value: this.configRefused }])
    this.stopSampling = registerProcessMetrics(this.metrics, options.version ?? 'unknown')
  }

  event(event: GatewayEvent): void {
    this.measure(event)
    const { passes, kept } = this.throttle.pass(event.type, this.now())
    if (kept > 0) this.print(keptText(event.type, kept))
    if (passes) this.print(event)
    else this.count('spillway_events_suppressed_total', { type: event.type })
    if (event.type === 'fatal') this.flushSync()
  }

  access(line: AccessLine): void {
    this.accessWriter?.write(this.lines.access(line))
  }

  attempt(line: AttemptLine): void {
    this.accessWriter?.write(this.lines.attempt(line))
  }

  tunnel(line: TunnelLine): void {
    this.accessWriter?.write(this.lines.tunnel(line))
  }

  flushSync(): void {
    this.text.flush()
    this.eventWriter?.flushSync()
    this.accessWriter?.flushSync()
  }

  async close(): Promise<void> {
    this.stopSampling()
    this.text.flush()
    await Promise.all([this.eventWriter?.close(), this.accessWriter?.close()])
  }

  private print(event: GatewayEvent): void {
    if (this.format === 'text') this.text.print(event)
    else this.writeEvent(JSON.stringify({ time: new Date(this.now()).toISOString(), level: eventLevel(event), ...event }))
  }

  /** What events say to machines. */
  private measure(event: GatewayEvent): void {
    this.count('spillway_events_total', { type: event.type })
    if (event.type === 'buckets-moved') this.count('spillway_buckets_moved_total', { queue: event.queue, cause: event.cause }, event.moved)
    if (event.type !== 'config-reloaded' && event.type !== 'config-refused') return
    const isRefused = event.type === 'config-refused'
    this.configRefused = isRefused ? 1 : 0
    this.count('spillway_config_reloads_total', { outcome: isRefused ? 'refused' : 'applied' })
  }

  private count(name: MetricName, labels: Readonly<Record<string, string>>, by = 1): void {
    const key = [name, ...Object.values(labels)].join('\n')
    let counter = this.eventCounters.get(key)
    if (counter === undefined) {
      counter = this.metrics.counter(name, METRICS[name].help, labels)
      this.eventCounters.set(key, counter)
    }
    counter.inc(by)
  }
}

/** Throws when the access log's file cannot be opened. */
export function createTelemetry(options: TelemetryOptions): OwnedTelemetry {
  return new GatewayTelemetry(options)
}
