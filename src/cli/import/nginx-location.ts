/** What a location of nginx does with its requests: asks servers, answers, or what cannot be said. */
import { type Draft, type DraftPool, type DraftRoute, durationText, refused, type SourceLine } from './draft.ts'
import type { Directive } from './nginx-parse.ts'
import { effective, nearest, type Scope } from './nginx-scope.ts'
import { poolOfServer } from './nginx-upstream.ts'
import { answered, edit, editsText, returned } from './nginx-values.ts'
import { isClientsHost, isClosing, leftReason, needlessHeader, nginxTime } from './nginx-words.ts'
import { quoted } from './write-draft.ts'

export type Doing = Pick<DraftRoute, 'keys' | 'off'>

const NEXT_DEFAULT = ['error', 'timeout']
/** The same, as it is written here. */
export const RETRY_ON: readonly string[] = ['connect-failure', 'reset', 'timeout']

export class NginxLocations {
  /** By the name of the `upstream`; undefined: none of its servers can be used. */
  readonly upstreams = new Map<string, DraftPool | undefined>()
  readonly #draft: Draft
  readonly #said = new Set<Directive>()

  constructor(draft: Draft) {
    this.#draft = draft
  }

  /** `match`: one of the paths that `prefix` stands for. */
  of(scope: Scope, match: string, prefix: string): Doing {
    const isOpen = effective(scope, ({ name }) => name === 'allow' || name === 'satisfy') !== undefined
    const denied = effective(scope, ({ name, args }) => name === 'deny' && args[0] === 'all')
    const isDenied = denied !== undefined && !isOpen
    if (denied !== undefined && isOpen) this.#left(denied, leftReason(denied).reason)
    const closing = effective(scope, (each) => isClosing(each) && each.name !== 'return' && !(isDenied && each === denied))
    if (closing !== undefined) return refused(leftReason(closing).reason)
    const own = scope.directives.find(({ name }) => name === 'return')
    if (own !== undefined) return this.returned(scope, own)
    if (isDenied) return { keys: this.#withFields(scope, answered(403, undefined)), off: undefined }
    const pass = scope.directives.find(({ name }) => name === 'proxy_pass')
    return pass === undefined ? refused('nothing is asked for it') : this.#passed(scope, pass, { match, prefix })
  }

  returned(scope: Scope, directive: Directive): Doing {
    const keys = returned(directive)
    return keys === undefined
      ? this.#refused(directive, leftReason(directive).reason)
      : { keys: this.#withFields(scope, keys), off: undefined }
  }

  /** An answer of its own gets fields as well. */
  #withFields(scope: Scope, keys: DraftRoute['keys']): DraftRoute['keys'] {
    const response = this.#editsOf(scope, 'add_header', 'response')
    return response === undefined ? keys : [...keys, ['headers', `{ response: ${response} }`]]
  }

  #refused(directive: Directive, reason: string): Doing {
    this.#left(directive, reason)
    return refused(reason)
  }

  /** Of a line something is said once, however many routes it is about. */
  #left(directive: Directive, reason: string): void {
    if (!this.#said.has(directive)) this.#draft.left(directive, reason)
    this.#said.add(directive)
  }

  #needless(directive: Directive, reason: string): void {
    if (!this.#said.has(directive)) this.#draft.needless(directive, reason)
    this.#said.add(directive)
  }

  #passed(scope: Scope, pass: Directive, { match, prefix }: { readonly match: string; readonly prefix: string }): Doing {
    const found = /^http:\/\/([^/$]+)(\/[^$?#]*)?$/.exec(pass.args[0] ?? '')
    const pool = found === null ? undefined : this.#poolOf(found[1] ?? '', pass)
    if (found === null || pool === undefined)
      return this.#refused(pass, 'this address cannot be asked: it must be http, and known beforehand')
    const path = rewrittenPath(match, prefix, found[2])
    if (path === undefined) return this.#refused(pass, `such a rewrite is not there: ${prefix} to ${found[2]}`)
    const host = this.#hostOf(scope, found[1] ?? '')
    const rewrite = [
      ...(path === '' ? [] : [`path: ${JSON.stringify(path)}`]),
      ...(host === undefined ? [] : [`host: ${JSON.stringify(host)}`]),
    ]
    const headers = this.#headersOf(scope)
    const keys: [string, string][] = [['pool', quoted(pool.name)]]
    if (rewrite.length > 0) keys.push(['rewrite', `{ ${rewrite.join(', ')} }`])
    if (headers !== undefined) keys.push(['headers', headers])
    return { keys: [...keys, ...this.#triesOf(scope)], off: undefined }
  }

  #poolOf(authority: string, pass: SourceLine): DraftPool | undefined {
    return this.upstreams.has(authority) ? this.upstreams.get(authority) : poolOfServer(authority, pass, this.#draft)
  }

  /** What servers get for Host; undefined: what the client says. */
  #hostOf(scope: Scope, authority: string): string | undefined {
    const directive = nearest(scope, 'proxy_set_header').find(({ args }) => args[0]?.toLowerCase() === 'host')
    const value = directive?.args[1] ?? '$proxy_host'
    if (isClientsHost(value)) return undefined
    const host = value === '$proxy_host' ? authority : value
    if (/^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?(:\d{1,5})?$/.test(host)) return host
    if (directive !== undefined) this.#left(directive, 'the servers get the Host of the client here')
    return undefined
  }

  #headersOf(scope: Scope): string | undefined {
    const request = this.#editsOf(scope, 'proxy_set_header', 'request')
    const response = this.#editsOf(scope, 'add_header', 'response')
    const parts = [...(request === undefined ? [] : [`request: ${request}`]), ...(response === undefined ? [] : [`response: ${response}`])]
    return parts.length === 0 ? undefined : `{ ${parts.join(', ')} }`
  }

  #editsOf(scope: Scope, name: string, side: 'request' | 'response'): string | undefined {
    const edits = { set: new Map<string, string>(), remove: [] }
    for (const directive of nearest(scope, name)) {
      const { args } = directive
      const needless = side === 'request' ? needlessHeader(args) : undefined
      if (needless !== undefined) this.#needless(directive, needless)
      if (needless !== undefined || (side === 'request' && args[0]?.toLowerCase() === 'host')) continue
      const wrong = edit(edits, side, args)
      if (wrong !== undefined) this.#left(directive, wrong)
      else if (side === 'response' && args[2] !== 'always') this.#left(directive, 'here answers that are errors get it, too')
    }
    return editsText(edits)
  }

  /** How long one server is waited for, and when another one is asked. */
  #triesOf(scope: Scope): [string, string][] {
    const keys: [string, string][] = []
    const [read] = nearest(scope, 'proxy_read_timeout')
    const firstByte = durationText(nginxTime(read?.args[0] ?? '') ?? 0)
    if (firstByte !== undefined) keys.push(['firstByte', firstByte])
    const [next] = nearest(scope, 'proxy_next_upstream')
    const [tries] = nearest(scope, 'proxy_next_upstream_tries')
    if (next === undefined && tries === undefined) return keys
    if (next?.args[0] === 'off') return [...keys, ['retry', 'off']]
    const on = retryOn(next?.args ?? NEXT_DEFAULT)
    if (next !== undefined && on === undefined) this.#left(next, 'not every reason to ask another server is one here; see retry')
    const attempts = /^[1-9]\d?$/.test(tries?.args[0] ?? '') ? `, attempts: ${tries?.args[0]}` : ''
    return [...keys, ['retry', `{ on: [${(on ?? RETRY_ON).join(', ')}]${attempts} }`]]
  }
}

/** What `proxy_pass` with a path makes of one of the paths of a location, as a template; '': nothing. Undefined: it cannot be said. */
function rewrittenPath(match: string, prefix: string, uri: string | undefined): string | undefined {
  if (uri === undefined || uri === prefix) return ''
  if (!/^\/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$/.test(uri)) return undefined
  if (!match.endsWith('/*')) return uri
  // Of a prefix without a slash at its end the slash is a part of what follows.
  return prefix.endsWith('/') ? `${uri}{*}` : `${uri}/{*}`
}

/** Undefined: there is one that is not known here. */
function retryOn(reasons: readonly string[]): readonly string[] | undefined {
  const on: string[] = []
  for (const reason of reasons) {
    const status = /^http_([45]\d\d)$/.exec(reason)?.[1]
    if (reason === 'error') on.push('connect-failure', 'reset')
    else if (reason === 'invalid_header') on.push('reset')
    else if (reason === 'timeout') on.push('timeout')
    else if (status !== undefined) on.push(status)
    else return undefined
  }
  return [...new Set(on)]
}
