/**
 * Routes: their match in one form, the pool and the queue that they name or imply, the defaults that depend on the mode, and what contradicts it.
 * Gives the queues too: those of the file and those that routes imply, each with its pool.
 */
import { parsePattern, patternShape } from '../core/routing/pattern.ts'
import { type SimpleTest, testText, type ValueTest } from '../core/routing/value-test.ts'
import type { UrlPattern } from '../core/webhooks/urls.ts'
import type { CorsConfig, MatchConfig, RouteConfig } from './config.ts'
import type { Path } from './problem.ts'
import { mainPool, resolveSplit } from './resolve-choice.ts'
import { checkAllowOfDirect, resolveTunnels } from './resolve-overload.ts'
import { nearest } from '../lib/nearest.ts'
import type { Report, ResolveOptions } from './report.ts'
import { resolveRetry, resolveTries, type TriesContext } from './resolve-retries.ts'
import { checkName } from './report.ts'
import { resolveActions } from './resolve-actions.ts'
import type { ParsedTest } from './schema-actions.ts'
import { type ParsedCors, type ParsedFile, type ParsedRoute, SPILL_DEFAULTS } from './schema.ts'

export interface ResolvedRoutes {
  readonly routes: readonly RouteConfig[]
  /** Every queue, with its pool; undefined: pull consumers only. */
  readonly queuePools: ReadonlyMap<string, string | undefined>
}

interface Context extends ResolveOptions, TriesContext {
  readonly cors?: CorsConfig
  readonly queuePools: Map<string, string | undefined>
  readonly jobs: ParsedFile['jobs']
  readonly webhooks: ParsedFile['webhooks']
  readonly written: ParsedFile
}

const ALLOW_DEFAULT = ['prefer', 'idempotency-key', 'key', 'delay'] as const
const JOB_METHODS_DEFAULT = ['POST', 'PUT', 'PATCH', 'DELETE']
const NEVER_JOBS = ['HEAD', 'OPTIONS', 'CONNECT', 'TRACE']
const HOLD_WAIT_MS = 25_000
const SPILL_PATIENCE_MS = 250
/** Keys that only say something about jobs. */
const JOB_KEYS = [
  'queue',
  'wait',
  'patience',
  'spill',
  'onWait',
  'key',
  'tenant',
  'bind',
  'methods',
  'redeliver',
  'idempotency',
  'onPartial',
  'then',
] as const

export function resolveRoutes(file: ParsedFile, options: ResolveOptions & { readonly cors?: CorsConfig }): ResolvedRoutes {
  const { jobs, webhooks, limits } = file
  const { report } = options
  const retry = file.retry && resolveRetry(file.retry, ['retry'], { report, limits })
  const context: Context = { ...options, queuePools: new Map(), jobs, webhooks, limits, retry, written: file }
  for (const [name, queue] of Object.entries(file.queues)) {
    if (queue.pool === undefined) {
      if (queue.pull === true) context.queuePools.set(name, undefined)
      continue
    }
    checkName(queue.pool, options.poolNames, { path: ['queues', name, 'pool'], what: 'pool' }, options.report)
    context.queuePools.set(name, queue.pool)
  }
  const routes = file.routes.map((route, i) => resolveRoute(route, ['routes', i], context))
  checkDuplicates(routes, options.report)
  for (const name of Object.keys(file.queues)) {
    if (context.queuePools.has(name)) continue
    context.queuePools.set(name, undefined)
    if (file.queues[name]?.pull !== false) continue
    const message = 'nobody may work it off: name a pool, a route that fills it, or leave this key out'
    options.report.error({ path: ['queues', name, 'pull'], message }, [['routes']])
  }
  return { routes, queuePools: context.queuePools }
}

function resolveRoute(route: ParsedRoute, path: Path, context: Context): RouteConfig {
  const { report } = context
  const match = resolveMatch(route, [...path, 'match'], report)
  checkReserved(match, path, context)
  const actions = resolveActions(route, match, path, { ...context, file: context.written })
  checkContradictions(route, match, path, context)
  const queue = route.mode === 'direct' ? undefined : resolveQueueName(route, match, path, context)
  const split = resolveSplit(route, path, context)
  if (split?.by?.from === 'path') checkParameter(split.by.name, match, [...path, 'splitBy'], report)
  const named = split === undefined ? (route.pool as string | undefined) : mainPool(split, context.queuePools.get(queue ?? ''))
  const pool = actions?.respond === undefined ? resolvePoolName({ ...route, pool: named }, queue, path, context) : undefined
  const cors = route.cors === undefined ? context.cors : resolveCors(route.cors, [...path, 'cors'], report)
  return {
    name: routeName(match),
    match,
    ...(pool !== undefined && { pool }),
    ...(split !== undefined && { split }),
    mode: route.mode,
    ...(queue !== undefined && { queue }),
    waitMs: route.wait ?? (route.mode === 'spill' || route.stream === true ? Math.min(HOLD_WAIT_MS, context.jobs.waitMax) : 0),
    patienceMs: route.mode === 'spill' ? (route.patience ?? SPILL_PATIENCE_MS) : 0,
    spill: { enterMs: (route.spill ?? SPILL_DEFAULTS).enter, leaveMs: (route.spill ?? SPILL_DEFAULTS).leave },
    onWait: route.onWait ?? 'accept',
    ...(route.key !== undefined && { key: route.key }),
    ...(route.tenant !== undefined && { tenant: route.tenant }),
    ...(route.bind !== undefined && { bind: route.bind }),
    allow: route.allow ?? ALLOW_DEFAULT,
    ...(route.priority !== undefined && { priority: route.priority }),
    ...resolveTunnels(route, path, report),
    ...(route.allow?.includes('callback') === true && { callbacks: resolveCallbacks(path, context) }),
    methods: route.mode === 'direct' ? [] : (route.methods ?? JOB_METHODS_DEFAULT),
    redeliver: route.redeliver ?? (route.mode === 'spill' ? 'safe' : 'always'),
    ...resolveTries(route, path, context, pool),
    ...(route.stream === true && { stream: { onPartial: route.onPartial ?? 'fail' } }),
    idempotencyScope: route.idempotency?.scope ?? 'authorization',
    ...(cors !== undefined && { cors }),
    ...(actions !== undefined && { actions }),
  }
}

function resolveCallbacks(path: Path, { webhooks, report }: Context): readonly UrlPattern[] {
  if (webhooks?.callbacks === undefined) {
    const message = 'callback needs webhooks.callbacks, which says what clients may name'
    report.error({ path: [...path, 'allow'], message }, [['webhooks']])
  }
  return webhooks?.callbacks?.urls ?? []
}

export function resolveCors(cors: ParsedCors, path: Path, report: Report): CorsConfig {
  if (cors.credentials && cors.origins.includes('*')) {
    report.error({ path: [...path, 'credentials'], message: 'credentials need exact origins: with * any site could act as the user' })
  }
  const { origins, methods, headers, credentials, maxAge } = cors
  return { origins, methods, headers, credentials, maxAgeMs: maxAge }
}

function resolveMatch({ match }: ParsedRoute, at: Path, report: Report): MatchConfig {
  if ('headers' in match) {
    const { host, path: paths, method, headers, query } = match
    const methods = method === undefined || Array.isArray(method) ? method : [method]
    const [first, ...moreHosts] = Array.isArray(host) ? new Set(host) : [host]
    const [path = '/*', ...morePaths] = Array.isArray(paths) ? new Set(paths) : [paths]
    return {
      ...(first !== undefined && { host: first }),
      ...(moreHosts.length > 0 && { moreHosts: moreHosts as string[] }),
      path,
      ...(morePaths.length > 0 && { morePaths }),
      ...(methods !== undefined && { methods: [...new Set(methods)] }),
      headers: Object.entries(headers).map(([name, test]) => [name.toLowerCase(), testOf(test, [...at, 'headers', name], report)] as const),
      query: Object.entries(query).map(([name, test]) => [name, testOf(test, [...at, 'query', name], report)] as const),
    }
  }
  return { path: match.path, ...(match.methods !== undefined && { methods: [...new Set(match.methods)] }), headers: [], query: [] }
}

/** As one would say it: `POST api.example.com/reports x-beta=on ?v=2`. */
function routeName(match: MatchConfig): string {
  const methods = match.methods === undefined ? [] : [match.methods.join(',')]
  const headers = match.headers.map(([name, test]) => testText(name, test))
  const query = match.query.map(([name, test]) => `?${testText(name, test)}`)
  const host = [match.host ?? '', ...(match.moreHosts ?? [])].join(',')
  return [...methods, host + pathsOf(match).join(','), ...headers, ...query].join(' ')
}

function pathsOf({ path, morePaths = [] }: MatchConfig): readonly string[] {
  return [path, ...morePaths]
}

/** Of the ways to say it there is one. */
function testOf(written: ParsedTest, path: Path, report: Report): ValueTest {
  if (typeof written === 'string') return written
  if (Array.isArray(written)) return { in: written }
  const [first, ...others] = Object.entries(written).filter(([, value]) => value !== undefined)
  if (first === undefined || others.length > 0) {
    const message = 'is one of present, prefix, suffix, contains and not; a second route, or a list, says more'
    report.error({ path, message })
    return ''
  }
  const [kind, value] = first
  if (kind === 'not') return { not: testOf(value as ParsedTest, [...path, 'not'], report) as SimpleTest }
  return { [kind]: value } as unknown as ValueTest
}

function checkReserved(match: MatchConfig, path: Path, { jobs, report }: Context): void {
  if (pathsOf(match).some((each) => each === jobs.path || each.startsWith(`${jobs.path}/`))) {
    report.error({ path: [...path, 'match', 'path'], message: `${jobs.path} is reserved for job URLs; jobs.path moves it` }, [['jobs']])
  }
}

function checkContradictions(route: ParsedRoute, match: MatchConfig, path: Path, { report, jobs }: Context): void {
  const mode: Path = [...path, 'mode']
  if (route.mode === 'direct') {
    if (route.stream === true) {
      const message = 'a direct route hands every answer on as it comes; leave this key out, or set mode: queue or mode: spill'
      report.error({ path: [...path, 'stream'], message }, [mode])
    }
    checkAllowOfDirect(route, path, report)
    for (const key of JOB_KEYS) {
      if (route[key] !== undefined)
        report.error(
          { path: [...path, key], message: 'has no meaning on a direct route, which keeps no jobs; set mode: queue or mode: spill' },
          [mode],
        )
    }
    return
  }
  for (const key of ['patience', 'spill'] as const) {
    if (route.mode !== 'queue' || route[key] === undefined) continue
    const message = 'has no meaning on a queue route, which never tries a server first; set mode: spill'
    report.error({ path: [...path, key], message }, [mode])
  }
  checkStream(route, path, report)
  if (route.wait !== undefined && route.wait > jobs.waitMax) {
    report.error({ path: [...path, 'wait'], message: 'is longer than jobs.waitMax' }, [['jobs', 'waitMax']])
  }
  checkMethods(route, match, path, report)
  for (const key of ['key', 'tenant'] as const) {
    const source = route[key]
    if (source?.from === 'path') checkParameter(source.name, match, [...path, key], report)
  }
}

function checkStream({ stream, wait, onPartial }: ParsedRoute, path: Path, report: Report): void {
  if (stream !== true && onPartial !== undefined) {
    const message = 'is about answers that are handed on while they come; set stream: true, or leave this key out'
    report.error({ path: [...path, 'onPartial'], message }, [[...path, 'stream']])
  }
  if (stream === true && wait === 0) {
    const message = 'is how long a client is held for the first byte, which stream: true is for; make it longer, or leave this key out'
    report.error({ path: [...path, 'wait'], message }, [[...path, 'stream']])
  }
}

function checkMethods(route: ParsedRoute, match: MatchConfig, path: Path, report: Report): void {
  for (const [i, method] of (route.methods ?? []).entries()) {
    if (NEVER_JOBS.includes(method)) report.error({ path: [...path, 'methods', i], message: `${method} can never become a job` })
  }
  const methods = route.methods ?? JOB_METHODS_DEFAULT
  if (match.methods === undefined || match.methods.some((method) => methods.includes(method))) return
  const names = match.methods.join(', ')
  const hint = match.methods.every((method) => NEVER_JOBS.includes(method))
    ? 'mode: direct is what it can have'
    : 'name it in methods, or set mode: direct'
  report.error({ path: [...path, 'match'], message: `${names} does not become a job here; ${hint}` }, [
    [...path, 'mode'],
    [...path, 'methods'],
  ])
}

function checkParameter(name: string, match: MatchConfig, path: Path, report: Report): void {
  for (const each of pathsOf(match)) {
    const pattern = parsePattern(each)
    if (typeof pattern === 'string') return
    const parameters = pattern.segments.flatMap((segment) => (segment.kind === 'param' ? [segment.name] : []))
    if (parameters.includes(name)) continue
    const message = `the path ${each} has no parameter {${name}}`
    const near = nearest(name, parameters)
    report.error({ path, message, suggestion: near && `path:${near}` }, [[...path.slice(0, -1), 'match']])
    return
  }
}

/** The queue that the route names, or one that is called like the path: `/reports` -> reports, `/v1/orders/{id}` -> v1-orders. */
function resolveQueueName(route: ParsedRoute, match: MatchConfig, path: Path, context: Context): string {
  if (route.queue === undefined) return impliedQueueName(match.path)
  const hint = '; define it under queues, or leave this key out'
  checkName(route.queue, context.queueNames, { path: [...path, 'queue'], what: 'queue', hint }, context.report)
  return route.queue
}

function impliedQueueName(path: string): string {
  const words = path.split('/').filter((part) => part !== '' && part !== '*' && !part.startsWith('{'))
  const name = words
    .join('-')
    .replaceAll(/[^A-Za-z0-9_.-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
  return name.slice(0, 64) || 'default'
}

/** A route, with what is the one pool of it. */
type OnePool = Omit<ParsedRoute, 'pool'> & { readonly pool: string | undefined }

/** Undefined: none, because only pull consumers work off what the route queues; or it is missing, and that has been told. */
function resolvePoolName(route: OnePool, queue: string | undefined, path: Path, context: Context): string | undefined {
  const { report, poolNames, queuePools } = context
  const ofQueue = queue === undefined ? undefined : queuePools.get(queue)
  const pullOnly = queue !== undefined && queuePools.has(queue) && ofQueue === undefined
  if (route.pool !== undefined) checkName(route.pool, poolNames, { path: [...path, 'pool'], what: 'pool' }, report)
  if (route.stream === true && pullOnly) {
    const message = `the queue "${queue}" is worked off by pull consumers only, which give their results as a whole; name a pool at the queue, or leave this key out`
    report.error({ path: [...path, 'stream'], message }, [['queues', queue]])
  }
  if (route.mode === 'queue' && pullOnly) {
    if (route.pool === undefined) return undefined
    const message = `the queue "${queue}" is worked off by pull consumers only; leave this key out, or name the pool at the queue`
    report.error({ path: [...path, 'pool'], message }, [
      [...path, 'mode'],
      ['queues', queue],
    ])
  }
  const pool = route.pool ?? ofQueue ?? (poolNames.length === 1 ? poolNames[0] : undefined)
  if (pool === undefined) {
    const message = poolNames.length === 0 ? 'is missing: a route needs servers' : `is missing; name one of ${poolNames.join(', ')}`
    report.error({ path: poolNames.length === 0 ? ['pools'] : [...path, 'pool'], message }, [path])
    return undefined
  }
  if (queue === undefined || pullOnly) return pool
  if (ofQueue === undefined) queuePools.set(queue, pool)
  else if (ofQueue !== pool) {
    const where: Path = route.queue === undefined ? [...path, 'pool'] : [...path, 'queue']
    const message = `the queue "${queue}" is worked off by pool "${ofQueue}", but this route is for pool "${pool}"`
    report.error({ path: where, message }, [
      [...path, 'pool'],
      [...path, 'mode'],
      ['queues', queue],
    ])
  }
  return pool
}

/** Two routes that match the same requests: the second one would never be reached. */
function checkDuplicates(routes: readonly RouteConfig[], report: Report): void {
  const seen = new Map<string, number>()
  for (const [i, { match }] of routes.entries()) {
    const sorted = (pairs: MatchConfig['headers']): string[] => pairs.map((pair) => JSON.stringify(pair)).sort()
    const others = [match.methods?.toSorted(), sorted(match.headers), sorted(match.query)]
    for (const path of pathsOf(match)) {
      const pattern = parsePattern(path)
      if (typeof pattern === 'string') continue
      const shape = patternShape(pattern)
      const keys = [match.host, ...(match.moreHosts ?? [])].map((host) => JSON.stringify([host, shape, ...others]))
      const first = keys.map((key) => seen.get(key)).find((index) => index !== undefined && index !== i)
      for (const key of keys) if (!seen.has(key)) seen.set(key, i)
      if (first === undefined) continue
      report.error({ path: ['routes', i, 'match'], message: `matches the same requests as routes[${first}]` }, [['routes', first, 'match']])
      break
    }
  }
}
