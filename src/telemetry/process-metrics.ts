/**
 * What the process costs and how late its event loop is. All of it is read when scraped, except the loop delay,
 * which is sampled all the time and kept in windows so that an old stall does not colour today's figures for ever.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { type ELDHistogram, monitorEventLoopDelay, performance } from 'node:perf_hooks'
import process from 'node:process'
import { getHeapStatistics } from 'node:v8'
import { METRICS, type MetricName } from './names.ts'
import type { GaugeSample, Metrics } from './telemetry.ts'

const RESOLUTION_MS = 10
const WINDOW_MS = 10_000
const QUANTILES: readonly (readonly [label: string, percentile: number])[] = [
  ['0.5', 50],
  ['0.99', 99],
  ['1', 100],
]

/** The sampler measures from tick to tick, so its own interval is in every value. */
function delaySeconds(delays: ELDHistogram, percentile: number): number {
  return delays.count === 0 ? 0 : Math.max(0, delays.percentile(percentile) / 1e9 - RESOLUTION_MS / 1e3)
}

/** NaN where it cannot be read: that takes a descriptor, and there may be none left. */
export function residentBytes(): number {
  try {
    return process.memoryUsage.rss()
  } catch {
    return Number.NaN
  }
}

/** Linux tells the number of descriptors as the folder's size since 6.2; before, and elsewhere, they are counted. */
function openDescriptors(): number {
  try {
    return statSync('/proc/self/fd').size || readdirSync('/proc/self/fd').length
  } catch {
    return Number.NaN
  }
}

/** What a process may open, from its `limits` file; NaN where that is not told, Infinity for no limit. */
export function descriptorLimit(pid: number | 'self' = 'self'): number {
  try {
    const limit = /^Max open files +(\S+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1]
    return limit === 'unlimited' ? Number.POSITIVE_INFINITY : Number(limit)
  } catch {
    return Number.NaN
  }
}

function activeResources(): GaugeSample[] {
  const counts = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  return [...counts].map(([kind, value]) => ({ labels: { kind }, value }))
}

/** Returns what stops the sampling. */
export function registerProcessMetrics(metrics: Metrics, version: string): () => void {
  const read = (name: MetricName, value: () => number): void => metrics.gauge(name, METRICS[name].help, () => [{ value: value() }])
  const startedAt = performance.timeOrigin / 1000

  read('process_cpu_seconds_total', () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6
  })
  read('process_resident_memory_bytes', residentBytes)
  read('process_open_fds', openDescriptors)
  const descriptorsMax = descriptorLimit()
  read('process_max_fds', () => descriptorsMax)
  read('process_start_time_seconds', () => startedAt)
  read('nodejs_heap_size_used_bytes', () => getHeapStatistics().used_heap_size)
  read('nodejs_heap_size_total_bytes', () => getHeapStatistics().total_heap_size)
  read('nodejs_external_memory_bytes', () => getHeapStatistics().external_memory)
  read('spillway_event_loop_active_seconds_total', () => performance.eventLoopUtilization().active / 1e3)
  const build: GaugeSample = { labels: { version, node: process.versions.node }, value: 1 }
  metrics.gauge('spillway_build_info', METRICS.spillway_build_info.help, () => [build])
  metrics.gauge('nodejs_active_resources', METRICS.nodejs_active_resources.help, activeResources)
  return registerLoopDelay(metrics)
}

function registerLoopDelay(metrics: Metrics): () => void {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  let lastWindow = QUANTILES.map(() => 0)
  const current = (): number[] => QUANTILES.map(([, percentile]) => delaySeconds(delays, percentile))
  delays.enable()
  const turn = setInterval(() => {
    lastWindow = current()
    delays.reset()
  }, WINDOW_MS).unref()
  metrics.gauge('spillway_event_loop_delay_seconds', METRICS.spillway_event_loop_delay_seconds.help, () => {
    const now = current()
    return QUANTILES.map(([quantile], i) => ({ labels: { quantile }, value: Math.max(now[i] as number, lastWindow[i] as number) }))
  })
  return () => {
    clearInterval(turn)
    delays.disable()
  }
}
