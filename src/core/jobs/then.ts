/**
 * Chains: where the result of a job goes when it has succeeded. Written in the configuration or in a job document, completed here from what the
 * route that it names says of itself. It is kept with the job: what was to follow is decided when the job is accepted.
 */
import type { RouteConfig } from '../../config/config.ts'
import { nearest } from '../../lib/nearest.ts'
import { isExact, matchPattern, parsePattern, type PathPattern } from '../routing/pattern.ts'

export interface Then {
  /** One of the two. */
  readonly queue?: string
  /** By its name. */
  readonly route?: string
  readonly method?: string
  /** Path and query. */
  readonly target?: string
  /** Name, value, name, value … */
  readonly headers?: readonly string[]
}

export interface ThenProblem {
  readonly field: 'queue' | 'route' | 'method' | 'target'
  readonly wrong: string
  readonly suggestion?: string | undefined
}

export interface Known {
  readonly routes: readonly RouteConfig[]
  readonly queues: readonly string[]
}

/** As a text: what has a slash in it is a route. */
export function thenOf(text: string): Then {
  return text.includes('/') ? { route: text } : { queue: text }
}

/** With the route's own name, a method and a target; or why nothing could follow there. */
export function completeThen(then: Then, { routes, queues }: Known): Then | ThenProblem {
  if (then.queue !== undefined) {
    if (queues.includes(then.queue)) return then
    return { field: 'queue', wrong: `there is no queue "${then.queue}"`, suggestion: nearest(then.queue, queues) }
  }
  const text = then.route ?? ''
  const found = routeNamed(text, routes)
  if (found === undefined) {
    const names = routes.filter(({ queue }) => queue !== undefined).map(({ name }) => name)
    return { field: 'route', wrong: `there is no route "${text}"`, suggestion: nearest(text, names) }
  }
  const { route, method: named } = found
  if (route.queue === undefined)
    return { field: 'route', wrong: `the route ${route.name} keeps no jobs; set mode: queue or mode: spill there` }
  const method = methodOf(route, then.method ?? named)
  if (typeof method === 'object') return method
  const target = targetOf(route, then.target)
  return typeof target === 'object' ? target : { ...then, route: route.name, method, target }
}

export function isThenProblem(value: Then | ThenProblem): value is ThenProblem {
  return 'wrong' in value
}

/** Its parameters, where a target goes by its pattern. */
export function paramsOf(route: RouteConfig, target: string): Readonly<Record<string, string>> | undefined {
  return matchOf(route, target)?.params
}

/** Which of its paths a target goes by. */
export function matchOf(
  { match }: RouteConfig,
  target: string,
): { readonly params: Readonly<Record<string, string>>; readonly pattern: PathPattern } | undefined {
  const parts = (target.split('?', 1)[0] as string).slice(1).split('/')
  for (const path of [match.path, ...(match.morePaths ?? [])]) {
    const pattern = parsePattern(path)
    const params = typeof pattern === 'string' ? undefined : matchPattern(pattern, parts)
    if (params !== undefined) return { params, pattern: pattern as PathPattern }
  }
  return undefined
}

/** By its name, or by its path alone, or with a method that it takes. */
function routeNamed(text: string, routes: readonly RouteConfig[]): { readonly route: RouteConfig; readonly method?: string } | undefined {
  const exact = routes.find(({ name }) => name === text)
  if (exact !== undefined) return { route: exact }
  const [, method, path] = /^(?:(\S+) )?(\/\S*)$/.exec(text) ?? []
  const isAt = ({ match }: RouteConfig): boolean => match.path === path || (path !== undefined && match.morePaths?.includes(path) === true)
  const route = routes.find((each) => isAt(each) && (method === undefined || each.match.methods?.includes(method) !== false))
  return route === undefined ? undefined : { route, ...(method !== undefined && { method }) }
}

function methodOf({ name, match, methods }: RouteConfig, wanted: string | undefined): string | ThenProblem {
  const possible = methods.filter((method) => match.methods?.includes(method) !== false)
  if (wanted === undefined) return possible.includes('POST') ? 'POST' : (possible[0] ?? 'POST')
  if (possible.includes(wanted)) return wanted
  return { field: 'method', wrong: `${wanted} does not become a job on ${name}; ${possible.join(', ')} would` }
}

function targetOf(route: RouteConfig, wanted: string | undefined): string | ThenProblem {
  const { path } = route.match
  if (wanted === undefined) {
    const pattern = parsePattern(path)
    if (typeof pattern !== 'string' && isExact(pattern)) return path
    return { field: 'target', wrong: `needs a target, because ${path} stands for many paths` }
  }
  if (paramsOf(route, wanted) !== undefined) return wanted
  return { field: 'target', wrong: `${wanted} does not match ${[path, ...(route.match.morePaths ?? [])].join(' or ')}` }
}
