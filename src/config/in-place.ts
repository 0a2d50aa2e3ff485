/**
 * What of a configuration that was read again can hold at once, and what only after a restart: routes, queues and everything that fills them,
 * API keys and pools with all that they have can; whatever sockets or the store were opened with cannot, and stays as it was. Pure.
 */
import { isDeepStrictEqual } from 'node:util'
import { isMapping } from '../lib/mapping.ts'
import type { Config, ListenerConfig } from './config.ts'

export interface InPlace {
  /** What holds from now on. */
  readonly config: Config
  /** Keys of the file whose values do not: `pools.api`, `timeouts.head`. */
  readonly needsRestart: readonly string[]
}

export function inPlace(running: Config, read: Config): InPlace {
  const { cors: _, signing: __, webhooks: ___, requestId: ____, tracing: _____, sticky: ______, ...kept } = running
  const config: Config = {
    ...kept,
    listeners: listenersOf(running.listeners, read.listeners),
    pools: read.pools,
    queues: read.queues,
    routes: read.routes,
    schedules: read.schedules,
    topics: read.topics,
    ...(read.cors !== undefined && { cors: read.cors }),
    ...(read.requestId !== undefined && { requestId: read.requestId }),
    ...(read.tracing !== undefined && { tracing: read.tracing }),
    ...(read.signing !== undefined && { signing: read.signing }),
    ...(read.sticky !== undefined && { sticky: read.sticky }),
    ...(read.webhooks !== undefined && { webhooks: read.webhooks }),
    api: {
      ...running.api,
      keys: read.api.keys,
      receiveMax: read.api.receiveMax,
      queuesMax: read.api.queuesMax,
      leaseMaxMs: read.api.leaseMaxMs,
    },
    // Files were read with it already.
    limits: { ...running.limits, answer: read.limits.answer },
    // Links and receipts that are out there have the path in them.
    jobs: { ...read.jobs, path: running.jobs.path },
    drainTimeoutMs: read.drainTimeoutMs,
  }
  return { config, needsRestart: differences(config, read) }
}

/** Sockets stay as they are. How TLS is spoken there may change, not whether. */
function listenersOf(running: readonly ListenerConfig[], read: readonly ListenerConfig[]): readonly ListenerConfig[] {
  return running.map((listener) => {
    const now = read.find(({ address }) => isDeepStrictEqual(address, listener.address))
    return listener.tls === undefined || now?.tls === undefined ? listener : { ...listener, tls: now.tls }
  })
}

/** Whatever is written differs from what holds, so no key can be forgotten here. */
function differences(holds: Config, read: Config): string[] {
  const { file: _, ...parts } = read
  const names = new Set([...Object.keys(holds), ...Object.keys(parts)]) as Set<keyof Config>
  names.delete('file')
  return [...names].flatMap((name) => {
    const [before, now]: readonly unknown[] = [holds[name], read[name]]
    if (isDeepStrictEqual(before, now)) return []
    if (!isMapping(before) || !isMapping(now)) return [name]
    const keys = new Set([...Object.keys(before), ...Object.keys(now)])
    return [...keys].filter((key) => !isDeepStrictEqual(before[key], now[key])).map((key) => `${name}.${key.replace(/Ms$/, '')}`)
  })
}
