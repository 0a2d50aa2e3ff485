/** Sticky sessions: each route gets what it says itself, or what its one pool says; cookies that no browser would keep are refused. */
import type { AppCookie, OwnCookie, RouteConfig, StickyConfig } from './config.ts'
import type { Path } from './problem.ts'
import type { Report } from './report.ts'
import type { ParsedFile, ParsedPoolMapping } from './schema.ts'

type ParsedSticky = NonNullable<ParsedPoolMapping['sticky']>

/** `routes`: in the order of the file. */
export function withSticky(routes: readonly RouteConfig[], file: ParsedFile, report: Report): readonly RouteConfig[] {
  const pools = new Map<string, StickyConfig>()
  for (const [name, pool] of Object.entries(file.pools)) {
    const sticky =
      'sticky' in pool && pool.sticky !== undefined ? resolveSticky(pool.sticky, ['pools', name, 'sticky'], file, report) : undefined
    if (sticky !== undefined) pools.set(name, sticky)
  }
  const resolved = routes.map((route, i) => {
    const sticky = stickyOf(route, i, { pools, file, report })
    return sticky === undefined ? route : { ...route, sticky }
  })
  checkClashes(resolved, report)
  return resolved
}

/** One cookie cannot name a server of each of two pools: every request would overwrite what the last one on the other route was told. */
function checkClashes(routes: readonly RouteConfig[], report: Report): void {
  for (const [i, route] of routes.entries()) {
    const other = routes.slice(0, i).find((earlier) => clash(earlier, route))
    if (other === undefined) continue
    const message = `the sticky cookie of this route is also that of "${other.name}", which has other pools: they would overwrite each other; give one of them another name`
    report.error({ path: ['routes', i], message }, [['pools']])
  }
}

/** A browser has one cookie for each name, path and host. */
function clash(a: RouteConfig, b: RouteConfig): boolean {
  const [one, two] = [a.sticky?.cookie, b.sticky?.cookie]
  if (one?.by !== 'gateway' || two?.by !== 'gateway' || one.name !== two.name || one.path !== two.path) return false
  if (a.match.host !== undefined && b.match.host !== undefined && a.match.host !== b.match.host) return false
  return poolsOf(a) !== poolsOf(b)
}

function poolsOf({ split, pool = '' }: RouteConfig): string {
  const names = split?.shares.map((share) => share.pool) ?? [pool]
  return names.toSorted().join(' ')
}

interface Context {
  readonly pools: ReadonlyMap<string, StickyConfig>
  readonly file: ParsedFile
  readonly report: Report
}

function stickyOf(route: RouteConfig, i: number, { pools, file, report }: Context): StickyConfig | undefined {
  const own = file.routes[i]?.sticky
  const path: Path = ['routes', i, 'sticky']
  if (route.mode === 'queue' || own === 'off') {
    const message = 'has no meaning on a queue route: which server gets a job is decided by its key'
    if (own !== undefined && own !== 'off') report.error({ path, message }, [['routes', i, 'mode']])
    return undefined
  }
  if (own !== undefined) return resolveSticky(own, path, file, report)
  const ofPool = route.split?.shares.find(({ pool }) => pools.has(pool))?.pool
  if (ofPool === undefined) return pools.get(route.pool ?? '')
  const message = `pool "${ofPool}" is sticky, and this route has several pools: set sticky here, which keeps the pool as well, or sticky: off`
  report.error({ path: ['routes', i, 'pool'], message }, [['pools', ofPool]])
  return undefined
}

function resolveSticky(sticky: ParsedSticky, path: Path, file: ParsedFile, report: Report): StickyConfig | undefined {
  const { cookie, appCookie, wait } = sticky
  if ((cookie === undefined) === (appCookie === undefined)) {
    const message = cookie === undefined ? 'needs cookie or appCookie' : 'has cookie and appCookie; one of them says who is who'
    report.error({ path, message })
    return undefined
  }
  if (cookie === undefined) return { cookie: resolveAppCookie(appCookie as NonNullable<typeof appCookie>), waitMs: wait }
  if (file.sticky === undefined) {
    const message = 'needs a key that signs it: sticky: { keys: [{ id: first, secret: "${STICKY_KEY}" }] } at the top of the file'
    report.error({ path: [...path, 'cookie'], message }, [['sticky']])
  }
  const resolved = resolveOwnCookie(cookie)
  checkCookie(resolved, [...path, 'cookie'], report)
  return { cookie: resolved, waitMs: wait }
}

function resolveOwnCookie(cookie: NonNullable<ParsedSticky['cookie']>): OwnCookie {
  if (typeof cookie === 'string') return { by: 'gateway', name: cookie, path: '/', secure: false, sameSite: 'Lax' }
  const { ttl, ...rest } = cookie
  return { by: 'gateway', ...rest, ...(ttl !== undefined && { ttlMs: ttl }) }
}

function resolveAppCookie(cookie: NonNullable<ParsedSticky['appCookie']>): AppCookie {
  return typeof cookie === 'string'
    ? { by: 'application', name: cookie, ttlMs: 1_800_000 }
    : { by: 'application', name: cookie.name, ttlMs: cookie.ttl }
}

/** Browsers throw such cookies away, and everybody would be new for ever (RFC 6265bis, sections 4.1.3 and 5.6.7.1). */
function checkCookie({ name, path: cookiePath, secure, sameSite }: OwnCookie, path: Path, report: Report): void {
  if (sameSite === 'None' && !secure) report.error({ path, message: 'sameSite: None needs secure: true, or browsers refuse the cookie' })
  if (/^__(secure|host)-/i.test(name) && !secure)
    report.error({ path, message: `${name} needs secure: true, or browsers refuse the cookie` })
  if (/^__host-/i.test(name) && cookiePath !== '/') report.error({ path, message: `${name} needs path: /, or browsers refuse the cookie` })
}
