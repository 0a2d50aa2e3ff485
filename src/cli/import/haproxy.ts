/**
 * Imports a configuration of HAProxy. Its rules are tried in their order, routes here by how specific they are (`rule-order.ts`). Where something
 * cannot be said, requests are refused rather than sent elsewhere (`Draft.close`).
 */
import { type Draft, type DraftPool, type DraftRoute, durationText, matchOf, type SourceLine } from './draft.ts'
import { type AclContext, aclsOf } from './haproxy-acl.ts'
import { importBackend } from './haproxy-backend.ts'
import { type Bind, type BindContext, readBind } from './haproxy-bind.ts'
import type { Section, Statement } from './haproxy-parse.ts'
import { haproxyRetry, RETRY_DEFAULT } from './haproxy-retry.ts'
import { fixedTarget, keysOf, refusedTarget, type Rule, SectionRules, type Target } from './haproxy-rules.ts'
import type { ServerContext } from './haproxy-server.ts'
import { haproxyTime, isOfRules, leftReason, needlessReason } from './haproxy-words.ts'
import { answered } from './nginx-values.ts'
import { isNetwork } from './nginx-words.ts'
import { asRoutes } from './rule-order.ts'
import { quoted } from './write-draft.ts'

/** A section with what the defaults before it say. */
interface Proxy {
  readonly section: Section
  readonly lines: readonly Statement[]
}

const EVERYTHING = matchOf(undefined, '/*')

const TIMEOUTS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  connect: [['timeouts', 'connect']],
  server: [
    ['timeouts', 'firstByte'],
    ['timeouts', 'stall'],
  ],
  'http-request': [['timeouts', 'head']],
  'http-keep-alive': [['timeouts', 'idle']],
  client: [['timeouts', 'body']],
  tunnel: [['timeouts', 'tunnel']],
}

export function importHaproxy(sections: readonly Section[], draft: Draft): void {
  new Import(sections, draft).run()
}

class Import {
  readonly #draft: Draft
  readonly #sections: readonly Section[]
  readonly #global: readonly Statement[]
  readonly #proxies: Proxy[] = []
  /** By backend; undefined: it cannot be used. */
  readonly #backends = new Map<string, readonly Rule[]>()
  readonly #noted = new Set<Statement>()
  #isTls: boolean | undefined
  #changed: ReadonlySet<string> = new Set()

  constructor(sections: readonly Section[], draft: Draft) {
    this.#sections = sections
    this.#draft = draft
    this.#global = sections.filter(({ kind }) => kind === 'global').flatMap(({ lines }) => lines)
  }

  run(): void {
    let defaults: readonly Statement[] = []
    for (const section of this.#sections) {
      if (section.kind === 'defaults') defaults = section.lines
      else if (section.kind === 'global') for (const line of section.lines) this.#globalLine(line)
      else if (section.kind === 'frontend' || section.kind === 'backend' || section.kind === 'listen') this.#proxy(section, defaults)
      else if (section.kind === 'resolvers') this.#draft.needless(section, 'names are looked up with the resolver of the system')
      else this.#draft.left(section, 'there is nothing like it here')
    }
    const fronts = this.#proxies.filter(({ section }) => section.kind !== 'backend')
    const serving = fronts.filter((front) => !isStatistics(front) && httpsOnly(front) === undefined)
    const main = serving.find(takesAll) ?? serving[0] ?? fronts[0]
    if (main !== undefined)
      this.#frontend(
        main,
        fronts.filter((front) => front !== main),
      )
    for (const { section } of this.#proxies) {
      if (section.kind === 'backend' && !this.#backends.has(section.name))
        this.#draft.left(section, 'it is not used by what was translated')
    }
    const asked = this.#draft.routes.find(({ keys }) => keys[0]?.[0] === 'pool')
    if (asked !== undefined)
      this.#draft.set({ path: ['retry'], value: RETRY_DEFAULT, source: asked.source, remark: 'the default of HAProxy' })
  }

  #globalLine(line: Statement): void {
    if (line.words[0] === 'maxconn') this.#connections(line)
    else this.#other(line)
  }

  #connections(line: Statement): void {
    const count = line.words[1] ?? ''
    if (/^[1-9]\d{0,5}$/.test(count)) this.#draft.set({ path: ['limits', 'connections'], value: count, source: line })
    else this.#draft.left(line, 'not possible here')
  }

  #proxy(section: Section, defaults: readonly Statement[]): void {
    const own = new Set(section.lines.map(keyOf).filter((key) => !ADDED.has(key)))
    const lines = [...defaults.filter((line) => !own.has(keyOf(line))), ...section.lines]
    const mode = lines.findLast(({ words }) => words[0] === 'mode')?.words[1] ?? 'tcp'
    if (mode === 'http') this.#proxies.push({ section, lines })
    else this.#draft.left(section, `only HTTP is balanced here, and this is mode ${mode}`)
  }

  #other(line: Statement): void {
    if (this.#noted.has(line)) return
    this.#noted.add(line)
    const needless = needlessReason(line)
    if (needless !== undefined) this.#draft.needless(line, needless)
    else this.#draft.left(line, leftReason(line))
  }

  // --- the frontend

  #frontend(main: Proxy, others: readonly Proxy[]): void {
    const { section, lines } = main
    const alike = others.filter((other) => isAlike(other, main))
    const rules = this.#listeners(main, alike, others)
    for (const line of lines) {
      const [word = ''] = line.words
      if (word === 'timeout') this.#timeout(line)
      else if (word === 'maxconn') this.#connections(line)
      else if (word === 'option' && line.words[1] === 'forwardfor') this.#forwardFor(line)
      else if (isOfRules(line) || word === 'bind' || RETRIES.test(word)) continue
      else if (section.kind === 'frontend' || !isOfBackend(line)) this.#other(line)
    }
    const ownLast = lines.findLast(({ words }) => words[0] === 'default_backend')
    const last = (changed: ReadonlySet<string>): readonly Rule[] => {
      this.#changed = changed
      if (section.kind === 'listen' && lines.some(({ words }) => words[0] === 'server' || words[0] === 'server-template'))
        return this.#backend(section.name, section)
      if (ownLast !== undefined) return this.#backend(ownLast.words[1] ?? '', ownLast)
      return [{ match: EVERYTHING, target: fixedTarget(section, answered(503, undefined)) }]
    }
    const context: AclContext = { acls: aclsOf(lines), isTls: this.#isTls }
    const use = (name: string, source: SourceLine): readonly Rule[] => this.#backend(name, source)
    this.#inOrder(section, new SectionRules(this.#draft, context, { changed: new Set(), use }).rulesOf(rules, last))
  }

  /** Gives the lines that are rules: all but what a listener does instead. */
  #listeners(main: Proxy, alike: readonly Proxy[], others: readonly Proxy[]): readonly Statement[] {
    const context = this.#bindContext(main)
    const binds = [main, ...alike].flatMap(({ lines }) =>
      lines.filter(({ words }) => words[0] === 'bind').map((line) => readBind(line, context)),
    )
    const hasTls = binds.some(({ isTls, unusable }) => isTls && unusable === undefined)
    const redirects = hasTls ? main.lines.filter((line) => httpsRedirectOf(line) !== undefined) : []
    const redirect = redirects[0] && httpsRedirectOf(redirects[0])
    for (const line of redirects) this.#redirectCode(line)
    for (const bind of binds) this.#bind(bind, redirect)
    const served = binds.filter(({ isTls, unusable }) => unusable === undefined && (isTls || redirect === undefined))
    this.#isTls = served.every(({ isTls }) => isTls) ? true : served.some(({ isTls }) => isTls) ? undefined : false
    for (const other of others) if (!alike.includes(other)) this.#elsewhere(other, { context, hasTls })
    return main.lines.filter((line) => !redirects.includes(line) && !isExpectProxy(line))
  }

  #bindContext({ lines }: Proxy): BindContext {
    const global = (name: string): string | undefined => this.#global.findLast(({ words }) => words[0] === name)?.words[1]
    const expected = lines.filter(isExpectProxy).map(({ words }) => words.slice(words.indexOf('src') + 1, -1))
    return {
      crtBase: global('crt-base'),
      caBase: global('ca-base'),
      defaults: this.#global.filter(({ words }) => words[0] === 'ssl-default-bind-options').flatMap(({ words }) => words.slice(1)),
      ciphers: global('ssl-default-bind-ciphers'),
      suites: global('ssl-default-bind-ciphersuites'),
      proxies: expected.length === 0 ? undefined : expected.flat(),
    }
  }

  #bind({ line, addresses, isTls, keys, left, unusable }: Bind, redirect: string | undefined): void {
    if (unusable !== undefined) return this.#draft.left(line, `${unusable}; it is not listened on`)
    for (const reason of left) this.#draft.left(line, reason)
    for (const address of addresses) {
      if (address === undefined) this.#draft.left(line, 'only addresses and ports can be listened on')
      else this.#draft.listen(address, line, !isTls && redirect !== undefined ? [...keys, ['redirect', redirect]] : keys)
    }
  }

  #redirectCode(line: Statement): void {
    const code = codeOf(line)
    if (code !== '301' && code !== '308') this.#draft.left(line, `a listener redirects with 301 or 308 here, not with ${code}`)
  }

  /** Other frontends: what only sends to https is a listener, and statistics have an address of their own. */
  #elsewhere(front: Proxy, { context, hasTls }: { readonly context: BindContext; readonly hasTls: boolean }): void {
    const { section, lines } = front
    if (isStatistics(front)) return this.#draft.left(section, 'the admin address has status and metrics')
    const redirect = hasTls ? httpsOnly(front) : undefined
    if (redirect === undefined)
      return this.#draft.left(section, 'what listens elsewhere needs a gateway of its own: routes hold on all listeners')
    this.#redirectCode(redirect.line)
    for (const line of lines) if (line.words[0] === 'bind') this.#bind(readBind(line, { ...context, proxies: undefined }), redirect.how)
  }

  #forwardFor(line: Statement): void {
    const name = line.words[line.words.indexOf('header') + 1] ?? ''
    if (line.words.includes('header') && !/^x-forwarded-for$/i.test(name))
      this.#draft.left(line, 'X-Forwarded-For says who calls here; see headers.request for another field')
    else this.#other(line)
  }

  #timeout(line: Statement): void {
    if (this.#noted.has(line)) return
    const [, name = '', value = ''] = line.words
    const paths = Object.hasOwn(TIMEOUTS, name) ? TIMEOUTS[name] : undefined
    const text = durationText(haproxyTime(value) ?? 0)
    if (paths === undefined) {
      if (name !== 'queue' && name !== 'check') this.#other(line)
    } else if (text === undefined) this.#draft.left(line, 'not a time, or one that is not possible here')
    else for (const path of paths) this.#draft.set({ path, value: text, source: line })
    this.#noted.add(line)
  }

  // --- backends

  /** Its own rules, and its servers for everybody whom they do not take. */
  #backend(name: string, source: SourceLine): readonly Rule[] {
    const proxy = this.#proxies.find(({ section }) => section.kind !== 'frontend' && section.name === name)
    if (proxy === undefined) {
      const reason = `there is no backend ${name} that can be used`
      this.#draft.left(source, reason)
      return [{ match: EVERYTHING, target: refusedTarget(source, reason) }]
    }
    const rules = this.#backends.get(name) ?? this.#import(proxy)
    this.#backends.set(name, rules)
    return rules.map((rule) => ({ ...rule, target: { ...rule.target, source: rule.target.source ?? source } }))
  }

  #import({ section, lines }: Proxy): readonly Rule[] {
    const isList = section.kind === 'listen'
    const own = isList ? lines.filter(isOfBackend) : lines
    for (const line of own) if (line.words[0] === 'timeout') this.#timeout(line)
    const fresh = own.filter((line) => !(this.#noted.has(line) && needlessReason(line) !== undefined))
    const context: ServerContext = {
      crtBase: this.#global.findLast(({ words }) => words[0] === 'crt-base')?.words[1],
      caBase: this.#global.findLast(({ words }) => words[0] === 'ca-base')?.words[1],
      isUnverified: this.#global.some(({ words }) => words.join(' ') === 'ssl-server-verify none'),
    }
    const pool = importBackend({ name: section.name, source: section, lines: fresh }, this.#draft, context)
    for (const line of fresh) if (!isOfRules(line)) this.#noted.add(line)
    const target: Target =
      pool === undefined
        ? refusedTarget(section, `the servers of ${section.name} cannot be asked as they were`)
        : poolTarget(pool, haproxyRetry(lines, this.#draft))
    const last: readonly Rule[] = [{ match: EVERYTHING, target: pool === undefined ? { ...target, source: undefined } : target }]
    if (isList) return last
    const use = (): readonly Rule[] => last
    const acls: AclContext = { acls: aclsOf(lines), isTls: this.#isTls }
    const rules = new SectionRules(this.#draft, acls, { changed: this.#changed, use }).rulesOf(lines, () => last)
    if (rules !== undefined) return rules
    this.#draft.left(section, CROSSED)
    return [{ match: EVERYTHING, target: refusedTarget(section, CROSSED) }]
  }

  #inOrder(section: Section, rules: readonly Rule[] | undefined): void {
    const written = rules?.map(({ match, target }) => ({
      match,
      target,
      key: JSON.stringify([keysOf(target), target.off]),
      source: target.source ?? section,
    }))
    const routes = written && asRoutes(written.map((rule) => ({ match: rule.match, target: rule.key, of: rule })))
    if (routes === undefined) return this.#draft.left(section, CROSSED)
    for (const {
      match,
      of: { target, source },
    } of routes)
      this.#draft.route({ match, keys: keysOf(target), off: target.off, source } satisfies DraftRoute)
  }
}

const CROSSED = 'its rules cross each other too often to become routes, or test one field twice'
const RETRIES = /^(retries|retry-on)$/

function poolTarget({ name }: DraftPool, retry: string): Target {
  const keys: DraftRoute['keys'] = [['pool', quoted(name)], ...(retry === RETRY_DEFAULT ? [] : [['retry', retry] as const])]
  return { source: undefined, off: undefined, keys, isAsking: true, request: [], response: [] }
}

/** `redirect scheme https` of what does not come over TLS; how a listener does it. */
function httpsRedirectOf(line: Statement): string | undefined {
  const found = /^redirect scheme https(?: code 30[12378])? (?:if !\{ssl_fc\}|unless\{ssl_fc\})$/.exec(redirectText(line))
  return found === null ? undefined : redirectOf(codeOf(line))
}

function redirectText({ words }: Statement): string {
  return words
    .join(' ')
    .replace(/^http-request /, '')
    .replaceAll(/\s*([{}])\s*/g, '$1')
    .replace('unless{', 'unless{')
}

function codeOf({ words }: Statement): string {
  const at = words.indexOf('code')
  return at < 0 ? '302' : (words[at + 1] ?? '')
}

/** 301 is nearest to 302: a client may ask with GET. */
function redirectOf(code: string): string {
  return code === '308' || code === '307' ? 'https' : '{ status: 301 }'
}

/** A frontend that sends everybody to https. */
function httpsOnly({ lines }: Proxy): { readonly line: Statement; readonly how: string } | undefined {
  const rules = lines.filter((line) => isOfRules(line) && line.words[0] !== 'default_backend' && needlessReason(line) === undefined)
  const [line] = rules
  const isPlain =
    line !== undefined &&
    rules.length === 1 &&
    /^redirect scheme https(?: code 30[12378])?(?: if !\{ssl_fc\}| ?unless\{ssl_fc\})?$/.test(redirectText(line))
  const hasTls = lines.some(({ words }) => words[0] === 'bind' && words.includes('ssl'))
  return isPlain && !hasTls ? { line, how: redirectOf(codeOf(line)) } : undefined
}

/** It has nothing but the page of statistics. */
function isStatistics({ lines }: Proxy): boolean {
  return (
    lines.some(({ words }) => words[0] === 'stats') &&
    !lines.some(({ words }) => /^(server|use_backend|default_backend|server-template)$/.test(words[0] ?? ''))
  )
}

/** Everybody is sent to some backend. */
function takesAll({ section, lines }: Proxy): boolean {
  return section.kind === 'listen' || lines.some(({ words }) => words[0] === 'default_backend')
}

/** The same is done there, so that it is listened on as well. */
function isAlike(a: Proxy, b: Proxy): boolean {
  const text = ({ section, lines }: Proxy): string =>
    JSON.stringify([section.kind, lines.filter((line) => line.words[0] !== 'bind').map(({ words }) => words)])
  return a.section.kind === 'frontend' && text(a) === text(b)
}

/** `tcp-request connection expect-proxy layer4 if { src 10.0.0.0/8 }`: which is said of listeners. */
function isExpectProxy({ words }: Statement): boolean {
  const networks = words.slice(7, -1)
  return (
    /^tcp-request connection expect-proxy layer4 if \{ src [^ ].* \}$/.test(words.join(' ')) &&
    networks.length > 0 &&
    networks.every(isNetwork)
  )
}

/** What a section says of these comes on top of what the defaults say. */
const ADDED = new Set(
  'acl http-request http-response http-after-response tcp-request tcp-response log capture redirect use_backend'.split(' '),
)

/** Of the defaults one of these gives way to one of the section. */
function keyOf({ words }: Statement): string {
  const [first = '', second = ''] = words
  return first === 'option' || first === 'timeout' || first === 'no' ? `${first} ${second}` : first
}

/** In a `listen` section: what is about its servers. */
function isOfBackend({ words }: Statement): boolean {
  const [first = '', second = ''] = words
  if (first === 'option') return second === 'httpchk' || second === 'redispatch'
  if (first === 'timeout') return second === 'queue' || second === 'check' || second === 'server' || second === 'connect'
  return /^(server|default-server|balance|cookie|http-check|hash-type|hash-balance-factor|server-template|fullconn|retries|retry-on)$/.test(
    first,
  )
}
