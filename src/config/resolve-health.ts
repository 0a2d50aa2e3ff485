/** The checks of a pool. What says nothing beyond the default is left out, so that equal checks are equal values. */
import type { HealthConfig } from './config-health.ts'
import type { Path } from './problem.ts'
import type { Report } from './report.ts'
import type { POOL_DEFAULTS } from './schema.ts'

type Parsed = (typeof POOL_DEFAULTS)['health']

const JITTER_MAX = 0.5
const DEFAULTS = { jitter: 0.05, status: '200-299 300-399' }

export function resolveHealth(pool: string, health: Parsed, report: Report): HealthConfig {
  const at = (key: keyof Parsed): Path => ['pools', pool, 'health', key]
  const { path, method, body, port, fastInterval, jitter, initial } = health
  const status = health.status.map((each) => (typeof each === 'number' ? ([each, each] as const) : each))
  const headers = Object.entries(health.headers).flat()
  const isDefault = status.map((range) => range.join('-')).join(' ') === DEFAULTS.status
  const ofHttp = { method: method !== 'GET', headers: headers.length > 0, status: !isDefault, body: body !== undefined }
  for (const [key, isSet] of Object.entries(ofHttp)) {
    if (isSet && path === undefined)
      report.error({ path: at(key as keyof Parsed), message: 'is of checks by HTTP; say with path what is asked for, or leave it out' })
  }
  if (body !== undefined && method === 'HEAD')
    report.error({ path: at('body'), message: 'is never there in an answer to HEAD; leave method out' }, [at('method')])
  if (fastInterval !== undefined && fastInterval > health.interval)
    report.error({ path: at('fastInterval'), message: 'is longer than interval' }, [at('interval')])
  if (jitter > JITTER_MAX) report.error({ path: at('jitter'), message: 'must be at most 50%' })
  return {
    ...(path !== undefined && { path }),
    ...(method !== 'GET' && { method }),
    ...(headers.length > 0 && { headers }),
    ...(!isDefault && { status }),
    ...(body !== undefined && { body }),
    ...(port !== undefined && { port }),
    intervalMs: health.interval,
    ...(fastInterval !== undefined && { fastIntervalMs: fastInterval }),
    ...(jitter !== DEFAULTS.jitter && { jitter }),
    timeoutMs: health.timeout,
    fall: health.fall,
    rise: health.rise,
    ...(initial === 'up' && { isUpAtFirst: true as const }),
  }
}
