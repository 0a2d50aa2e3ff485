/** What a location of nginx does with its requests: asks servers, answers, or what cannot be said. */
import { type Draft, type DraftMatch, type DraftRoute, durationText, matchOf, refused } from './draft.ts'
import { headersText } from './edits.ts'
import { requestEdits, responseEdits } from './nginx-headers.ts'
import { allowedMethods, ifTest, returnedIn } from './nginx-if.ts'
import type { Directive } from './nginx-parse.ts'
import { NginxPools } from './nginx-pools.ts'
import { rewritesOf } from './nginx-rewrite.ts'
import { effective, nearest, type Scope, serverScope } from './nginx-scope.ts'
import { nginxTries } from './nginx-tries.ts'
import { answered, returned } from './nginx-values.ts'
import { isClientsHost, isClosing, leftReason, nginxTime } from './nginx-words.ts'
import { asRoutes } from './rule-order.ts'
import { restricted, rulesOf, type Step } from './rules.ts'

type Doing = Pick<DraftRoute, 'keys' | 'off'>
/** `from`: the path whose `{*}` stands in what it does. */
type Target = Doing & Pick<DraftRoute, 'source'> & { readonly from?: string }

export interface Place {
  readonly match: DraftMatch
  /** As it is written there. */
  readonly prefix: string
  /** Of all locations of the server. */
  readonly paths: ReadonlySet<string>
}

const ANY = matchOf(undefined, '/*')

export class NginxLocations {
  readonly #draft: Draft
  readonly #http: Scope
  readonly #pools: NginxPools
  /** Done elsewhere: they close nothing. */
  readonly #done: ReadonlySet<Directive>

  constructor(draft: Draft, http: Scope, done: ReadonlySet<Directive>) {
    this.#draft = draft
    this.#http = http
    this.#done = done
    this.#pools = new NginxPools(draft, http)
  }

  /** In the order in which they count. */
  rulesOf(scope: Scope, source: Directive, place: Place): readonly DraftRoute[] {
    const last: Target = { ...this.#last(scope, place), source }
    const own = scope.directives
    const steps = [...new Set([serverScope(scope), scope])].flatMap((at) => this.#stepsOf(at.directives, scope, place))
    const limit = own.some(({ name }) => name === 'return') ? undefined : effective(scope, ({ name }) => name === 'limit_except')
    const methods = limit && allowedMethods(limit)
    if (limit !== undefined && methods !== undefined)
      steps.push({ matches: [ANY], but: [{ ...ANY, methods }], target: { ...this.#fixed(scope, 403), source: limit } })
    if (steps.length === 0) return [{ match: place.match, ...last }]
    const rules = rulesOf(steps, last)
    const here = rules && restricted(rules, [place.match])
    const routes = here && asRoutes(here)
    if (routes !== undefined) return routes.map(({ match, target }) => routeOf(match, target))
    return [{ match: place.match, source, ...this.#refused(source, 'its conditions cross each other too often to become routes') }]
  }

  /** What is looked at before a location answers. */
  #stepsOf(directives: readonly Directive[], scope: Scope, place: Place): Step<Target>[] {
    const steps: Step<Target>[] = []
    for (const directive of directives) {
      const { name } = directive
      if (name === 'return' || name === 'break') break
      if (name === 'if' && !this.#done.has(directive)) steps.push(...this.#ifStep(directive, scope))
      if (name === 'rewrite') steps.push(...this.#rewriteSteps(directive, scope, place))
    }
    return steps
  }

  #ifStep(directive: Directive, scope: Scope): Step<Target>[] {
    const test = ifTest(directive)
    const keys = returnedIn(directive)
    if (test === undefined || keys === undefined) return []
    const target: Target = { keys: this.#withFields(scope, keys), off: undefined, source: directive }
    return test.isNegated ? [{ matches: [ANY], but: test.matches, target }] : [{ matches: test.matches, target }]
  }

  #rewriteSteps(directive: Directive, scope: Scope, { match, paths }: Place): Step<Target>[] {
    return (rewritesOf(directive) ?? []).flatMap((rewrite) => {
      const { keys, path, differs } = rewrite
      // What another location takes never comes to this one.
      const isOwn = rewrite.match.path === match.path || !paths.has(rewrite.match.path) || !scope.directives.includes(directive)
      if (!isOwn || restricted([{ match }], [rewrite.match])?.length === 0) return []
      if (differs !== undefined) this.#draft.left(directive, differs)
      const doing = keys === undefined ? this.#asked(scope, () => path) : { keys: this.#withFields(scope, keys), off: undefined }
      return [{ matches: [rewrite.match], target: { ...doing, source: directive, from: rewrite.match.path } }]
    })
  }

  #last(scope: Scope, { match, prefix }: Place): Doing {
    const isOpen = effective(scope, ({ name, args }) => (name === 'allow' && args[0] !== 'all') || name === 'satisfy') !== undefined
    const denied = effective(scope, ({ name, args }) => name === 'deny' && args[0] === 'all')
    const isDenied = denied !== undefined && !isOpen
    if (denied !== undefined && isOpen) this.#draft.left(denied, leftReason(denied).reason)
    const closing = effective(scope, (each) => this.#closes(each, scope) && !(isDenied && each === denied))
    if (closing !== undefined) return refused(leftReason(closing).reason)
    const own = scope.directives.find(({ name }) => name === 'return')
    if (own !== undefined) return this.#returned(scope, own)
    if (effective(scope, ({ name }) => name === 'internal') !== undefined) return this.#fixed(scope, 404)
    if (isDenied) return this.#fixed(scope, 403)
    return this.#asked(scope, (uri) => rewrittenPath(match.path, prefix, uri), prefix)
  }

  /** What it says cannot be said here, and holds for this location. */
  #closes(directive: Directive, scope: Scope): boolean {
    const { name } = directive
    if (name === 'return' || this.#done.has(directive) || !isClosing(directive)) return false
    if (name === 'limit_except') return allowedMethods(directive) === undefined
    if (name !== 'if' && name !== 'rewrite') return true
    // Of these a location has its own, and those of the server come first.
    if (!scope.directives.includes(directive) && !serverScope(scope).directives.includes(directive)) return false
    if (name === 'if') return ifTest(directive) === undefined || returnedIn(directive) === undefined
    const isServed = directive.args[2] === 'break' && !scope.directives.includes(directive)
    return isServed || rewritesOf(directive) === undefined
  }

  #returned(scope: Scope, directive: Directive): Doing {
    const keys = returned(directive)
    if (keys !== undefined) return { keys: this.#withFields(scope, keys), off: undefined }
    return this.#refused(directive, leftReason(directive).reason)
  }

  #fixed(scope: Scope, status: number): Doing {
    return { keys: this.#withFields(scope, answered(status, undefined)), off: undefined }
  }

  /** An answer of its own gets fields as well. */
  #withFields(scope: Scope, keys: DraftRoute['keys']): DraftRoute['keys'] {
    const response = responseEdits(scope, this.#draft).text()
    return response === undefined ? keys : [...keys, ['headers', `{ response: ${response} }`]]
  }

  #refused(directive: Directive, reason: string): Doing {
    this.#draft.left(directive, reason)
    return refused(reason)
  }

  /** `pathOf`: what servers are asked for, by the path in `proxy_pass`; '': as it came; undefined: it cannot be said. */
  #asked(scope: Scope, pathOf: (uri: string | undefined) => string | undefined, prefix?: string): Doing {
    const pass = scope.directives.find(({ name }) => name === 'proxy_pass')
    if (pass === undefined) return refused('nothing is asked for it')
    const asked = this.#pools.of(pass, scope)
    if (typeof asked === 'string') return this.#refused(pass, asked)
    const path = pathOf(asked.uri)
    if (path === undefined) return this.#refused(pass, `such a rewrite is not there: ${prefix ?? ''} to ${asked.uri}`)
    const host = this.#hostOf(scope, asked.authority)
    const isHostSaid = nearest(scope, 'proxy_set_header').some(({ args }) => args[0]?.toLowerCase() === 'host')
    if (!isHostSaid && asked.authority.startsWith('$'))
      this.#draft.left(pass, 'the servers get the Host of the client here, not the name of their pool')
    const rewrite = [
      ...(path === '' ? [] : [`path: ${JSON.stringify(path)}`]),
      ...(host === undefined ? [] : [`host: ${JSON.stringify(host)}`]),
    ]
    const keys: [string, string][] = [...asked.keys]
    if (rewrite.length > 0) keys.push(['rewrite', `{ ${rewrite.join(', ')} }`])
    const headers = headersText(requestEdits(scope, this.#draft), responseEdits(scope, this.#draft))
    if (headers !== undefined) keys.push(['headers', headers])
    const mirror = this.#mirrorOf(scope, { host, isRewritten: path !== '', pools: asked.pools })
    if (mirror !== undefined) keys.push(['mirror', `{ pool: ${mirror} }`])
    const [read] = nearest(scope, 'proxy_read_timeout')
    const firstByte = durationText(nginxTime(read?.args[0] ?? '') ?? 0)
    if (firstByte !== undefined) keys.push(['firstByte', firstByte])
    return { keys: [...keys, ...nginxTries(scope, this.#draft)], off: undefined }
  }

  /** What servers get for Host; undefined: what the client says. */
  #hostOf(scope: Scope, authority: string): string | undefined {
    const directive = nearest(scope, 'proxy_set_header').find(({ args }) => args[0]?.toLowerCase() === 'host')
    const value = directive?.args[1] ?? '$proxy_host'
    if (isClientsHost(value)) return undefined
    const host = value === '$proxy_host' ? authority : value
    if (/^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?(:\d{1,5})?$/.test(host)) return host
    if (directive !== undefined) this.#draft.left(directive, 'the servers get the Host of the client here')
    return undefined
  }

  /** The pool of copies. A location that is asked with the URI of the request gets what the servers get. */
  #mirrorOf(
    scope: Scope,
    route: { readonly host: string | undefined; readonly isRewritten: boolean; readonly pools: readonly string[] },
  ): string | undefined {
    const [directive, ...more] = nearest(scope, 'mirror')
    if (directive === undefined || directive.args[0] === 'off') return undefined
    for (const other of more) this.#draft.left(other, 'requests are copied to one pool here')
    const left = (reason: string): undefined => {
      this.#draft.left(directive, reason)
      return undefined
    }
    const block = this.#locationOf(directive.args[0] ?? '', scope)
    const pass = block?.directives.find(({ name }) => name === 'proxy_pass')
    if (block === undefined || pass === undefined) return left('there is no location for it that asks servers')
    const target = pass.args[0] ?? ''
    if (!target.endsWith('$request_uri') || route.isRewritten)
      return left('copies are what the servers are asked here: that location must ask for $request_uri, and this one for no other path')
    const asked = this.#pools.of({ ...pass, args: [target.slice(0, -'$request_uri'.length)] }, block)
    if (typeof asked === 'string') return left(asked)
    const [[key, pool] = ['', '']] = asked.keys
    if (key !== 'pool' || asked.keys.length > 1 || route.pools.includes(pool)) return left('copies go to one pool here, and to another one')
    if (this.#hostOf(block, asked.authority) !== route.host) left('copies have the Host of the request that they are made of here')
    if (nearest(scope, 'mirror_request_body').some(({ args }) => args[0] === 'off')) left('copies have their body here')
    else left('requests with a body of more than limits.spillCopy are not copied here')
    return pool
  }

  #locationOf(path: string, scope: Scope): Scope | undefined {
    const outer = serverScope(scope)
    const found = outer.directives.find(
      ({ name, args }) => name === 'location' && args.at(-1) === path && /^(=|\^~)$|^\//.test(args[0] ?? ''),
    )
    return found && { outer, directives: found.block ?? [] }
  }

  /** Upstreams and shares that nothing asks. */
  unused(): readonly Directive[] {
    return this.#http.directives.filter((each) => /^(upstream|split_clients)$/.test(each.name) && !this.#pools.used.has(each))
  }
}

/** Of a route that takes a part of what its rule took, `{*}` stands for less. */
function routeOf(match: DraftMatch, { from, keys, ...target }: Target): DraftRoute {
  const rest = from === undefined || from === match.path ? '{*}' : match.path.slice(from.length - 1).replace(/\*$/, '{*}')
  const own = keys.map(([key, value]) => [key, key === 'redirect' || key === 'rewrite' ? value.replaceAll('{*}', rest) : value] as const)
  return { match, ...target, keys: own }
}

/** What `proxy_pass` with a path makes of one of the paths of a location, as a template; '': nothing. Undefined: it cannot be said. */
function rewrittenPath(match: string, prefix: string, uri: string | undefined): string | undefined {
  if (uri === undefined || uri === prefix) return ''
  if (!/^\/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$/.test(uri)) return undefined
  if (!match.endsWith('/*')) return uri
  // Of a prefix without a slash at its end the slash is a part of what follows.
  return prefix.endsWith('/') ? `${uri}{*}` : `${uri}/{*}`
}
