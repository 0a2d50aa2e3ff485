/** `upstream` blocks of nginx, as pools. */
import { readServerUrl } from '../../config/fields.ts'
import { type Draft, type DraftPool, durationText, setIn, type Setting, type SourceLine } from './draft.ts'
import type { Directive } from './nginx-parse.ts'
import { nginxSticky } from './nginx-sticky.ts'
import { leftReason, needlessReason, nginxTime } from './nginx-words.ts'
import { quoted } from './write-draft.ts'

/** There is no limit in nginx; none at all would be none for the servers either. */
const IN_FLIGHT = '1024'
export const NO_LIMIT = 'there is no limit there; measure what a server bears, and lower it'

interface Parameters {
  readonly source: SourceLine
  readonly maxFails: string | undefined
  readonly failTimeout: string | undefined
  readonly maxConns: string | undefined
  readonly slowStart: string | undefined
}

/** How whoever names it asks its servers. */
export interface Asking {
  readonly scheme: string
  readonly tls: Setting | undefined
}

/** Undefined: none of its servers can be used. */
export function importUpstream(upstream: Directive, draft: Draft, asking: Asking): DraftPool | undefined {
  const pool: DraftPool = { name: draft.poolName(upstream.args[0] ?? ''), source: upstream, servers: [], settings: [] }
  const given: Parameters[] = []
  let balance = { value: 'round-robin', source: upstream as SourceLine }
  for (const directive of upstream.block ?? []) {
    if (directive.name === 'server') addServer(directive, { pool, given, scheme: asking.scheme }, draft)
    else {
      const value = balanceOf(directive)
      if (value !== undefined) balance = { value, source: directive }
      else poolLine(directive, pool, draft)
    }
  }
  if (pool.servers.length === 0) {
    draft.left(upstream, 'none of its servers can be used')
    return undefined
  }
  pool.settings.push({ path: ['balance'], ...balance })
  if (asking.tls !== undefined) pool.settings.push(asking.tls)
  setInFlight(pool, given, draft)
  setEject(pool, given, draft)
  setSlowStart(pool, given, draft)
  draft.pools.push(pool)
  return pool
}

function poolLine(directive: Directive, pool: DraftPool, draft: Draft): void {
  const { name, args } = directive
  if (name === 'sticky') {
    const value = nginxSticky(directive, draft)
    if (value !== undefined) setIn(pool.settings, { path: ['sticky'], value, source: directive }, draft)
    return
  }
  if (name === 'keepalive_timeout') {
    const value = durationText(nginxTime(args[0] ?? '') ?? 0)
    if (value === undefined) return draft.left(directive, 'not a time, or one that is not possible here')
    return draft.set({ path: ['timeouts', 'upstreamIdle'], value, source: directive, remark: 'one for all' })
  }
  if (name === 'queue') {
    const wait = durationText(nginxTime(args.find((arg) => arg.startsWith('timeout='))?.slice(8) ?? '60s') ?? 0)
    if (!/^\d{1,6}$/.test(args[0] ?? '') || wait === undefined) return draft.left(directive, 'not possible here')
    setIn(pool.settings, { path: ['maxWaiting'], value: String(Number(args[0])), source: directive }, draft)
    setIn(pool.settings, { path: ['wait'], value: wait, source: directive }, draft)
    return
  }
  const needless = needlessReason(directive)
  if (needless !== undefined) return draft.needless(directive, needless)
  const isBalance = /^(hash|random|least_time|ip_hash)$/.test(name)
  draft.left(directive, isBalance ? 'servers are not chosen so here; see balance' : leftReason(directive).reason)
}

/** Of one server that stands in `proxy_pass`. */
export function poolOfServer(authority: string, source: SourceLine, draft: Draft, { scheme, tls }: Asking): DraftPool | undefined {
  const url = serverUrl(authority, scheme, scheme === 'https' ? 443 : 80)
  if (url === undefined) return undefined
  const isSame = (pool: DraftPool): boolean =>
    pool.servers.length === 1 && pool.servers[0]?.url === url && pool.settings.find(({ path }) => path[0] === 'tls')?.value === tls?.value
  const present = draft.pools.find(isSame)
  if (present !== undefined) return present
  const pool: DraftPool = {
    name: draft.poolName(authority.replaceAll(':', '-')),
    source,
    servers: [{ url, weight: undefined, backup: false, source }],
    settings: [...(tls === undefined ? [] : [tls]), { path: ['maxInFlight'], value: IN_FLIGHT, source, remark: NO_LIMIT }],
  }
  draft.pools.push(pool)
  return pool
}

/** Of `host`, `host:port`, `[v6]:port`. */
export function serverUrl(authority: string, scheme = 'http', port = 80): string | undefined {
  const found = /^(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(\d{1,5}))?$/i.exec(authority)
  if (found === null) return undefined
  const url = `${scheme}://${found[1]}:${found[2] ?? port}`
  return 'value' in readServerUrl(url) ? url : undefined
}

const NEEDLESS_PARAMETERS: Readonly<Record<string, string>> = {
  resolve: 'names are looked up again every 5s here',
}

function addServer(
  directive: Directive,
  { pool, given, scheme }: { readonly pool: DraftPool; readonly given: Parameters[]; readonly scheme: string },
  draft: Draft,
): void {
  const [address = '', ...parameters] = directive.args
  // An upstream does not know by which scheme it is asked.
  const url = serverUrl(address, scheme)
  if (url === undefined) return draft.left(directive, 'a server is a host and a port here')
  if (parameters.includes('down')) return draft.needless(directive, 'it is down, and left out')
  if (pool.servers.some((server) => server.url === url)) return draft.left(directive, 'a server stands in a pool once; give it more weight')
  const value = (name: string): string | undefined => parameters.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1)
  const weight = Number(value('weight') ?? 1)
  for (const each of parameters)
    if (Object.hasOwn(NEEDLESS_PARAMETERS, each)) draft.needless(directive, `${each}: ${NEEDLESS_PARAMETERS[each]}`)
  const unknown = parameters.filter(
    (each) =>
      each !== 'backup' &&
      !Object.hasOwn(NEEDLESS_PARAMETERS, each) &&
      !/^(weight|max_fails|fail_timeout|max_conns|slow_start)=/.test(each),
  )
  if (unknown.length > 0) draft.left(directive, `not known here: ${unknown.join(' ')}`)
  if (!Number.isSafeInteger(weight) || weight < 1 || weight > 1000) return draft.left(directive, 'a weight is 1 to 1000 here')
  pool.servers.push({ url, weight: weight === 1 ? undefined : weight, backup: parameters.includes('backup'), source: directive })
  given.push({
    source: directive,
    maxFails: value('max_fails'),
    failTimeout: value('fail_timeout'),
    maxConns: value('max_conns'),
    slowStart: value('slow_start'),
  })
}

function setSlowStart(pool: DraftPool, given: readonly Parameters[], draft: Draft): void {
  const [first] = given
  const time = durationText(nginxTime(first?.slowStart ?? '') ?? 0)
  if (first !== undefined && time !== undefined && given.every(({ slowStart }) => slowStart === first.slowStart))
    return void pool.settings.push({ path: ['slowStart'], value: time, source: first.source })
  for (const { source, slowStart } of given)
    if (slowStart !== undefined) draft.left(source, 'slow_start is one for all servers of a pool here (slowStart)')
}

function balanceOf({ name, args }: Directive): string | undefined {
  if (name === 'least_conn') return 'least-requests'
  if (name === 'ip_hash') return '{ hash: address }'
  if (name === 'random')
    return args.length === 0 || (args[0] === 'two' && (args[1] ?? 'least_conn') === 'least_conn') ? 'random' : undefined
  if (name !== 'hash') return undefined
  const of = hashSource(args[0] ?? '')
  return of === undefined || (args[1] ?? 'consistent') !== 'consistent' ? undefined : `{ hash: ${quoted(of)} }`
}

/** As `balance` and `splitBy` write it; undefined: nobody is told apart by it here. */
export function hashSource(variable: string): string | undefined {
  if (variable === '$remote_addr' || variable === '$binary_remote_addr') return 'address'
  if (variable === '$uri') return 'path'
  if (variable === '$host' || variable === '$http_host') return 'header:host'
  const found = /^\$(http|cookie|arg)_([a-z0-9_]+)$/i.exec(variable)
  if (found === null) return undefined
  const [, kind, name = ''] = found
  if (kind === 'http') return `header:${name.replaceAll('_', '-')}`
  return kind === 'cookie' ? `cookie:${name}` : `query:${name}`
}

function setInFlight(pool: DraftPool, given: readonly Parameters[], draft: Draft): void {
  const [first] = given
  const max = first?.maxConns
  if (max !== undefined && /^[1-9]\d{0,5}$/.test(max) && given.every(({ maxConns }) => maxConns === max)) {
    pool.settings.push({ path: ['maxInFlight'], value: max, source: first?.source ?? pool.source })
    return
  }
  for (const { source, maxConns } of given)
    if (maxConns !== undefined && maxConns !== '0') draft.left(source, 'max_conns is one for all servers of a pool here (maxInFlight)')
  pool.settings.push({ path: ['maxInFlight'], value: IN_FLIGHT, source: pool.source, remark: NO_LIMIT })
}

function setEject(pool: DraftPool, given: readonly Parameters[], draft: Draft): void {
  const [first] = given
  if (first === undefined || given.every(({ maxFails, failTimeout }) => maxFails === undefined && failTimeout === undefined)) return
  const isSame = given.every(({ maxFails, failTimeout }) => maxFails === first.maxFails && failTimeout === first.failTimeout)
  const failures = Number(first.maxFails ?? 1)
  const time = durationText(nginxTime(first.failTimeout ?? '10s') ?? 0)
  if (!isSame || !Number.isSafeInteger(failures) || failures > 1000 || time === undefined) {
    for (const { source, maxFails, failTimeout } of given)
      if (maxFails !== undefined || failTimeout !== undefined)
        draft.left(source, 'failures count alike for all servers of a pool here (eject)')
    return
  }
  const value = failures === 0 ? 'off' : `{ failures: ${failures}, time: ${time}, maxTime: ${time} }`
  setIn(pool.settings, { path: ['eject'], value, source: first.source, remark: 'in a row, whenever they come' }, draft)
}
