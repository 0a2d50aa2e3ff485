/**
 * Imports a configuration of HAProxy. Its rules are tried in their order, routes here by how specific they are (`rule-order.ts`). Where something
 * cannot be said, requests are refused rather than sent elsewhere (`Draft.close`).
 */
import { type Draft, type DraftMatch, type DraftPool, type DraftRoute, durationText, refused, type SourceLine } from './draft.ts'
import { type Acls, aclsOf, ANY, conditionsOf, matchesOf, withoutCondition } from './haproxy-acl.ts'
import { importBackend } from './haproxy-backend.ts'
import type { Section, Statement } from './haproxy-parse.ts'
import { answered } from './nginx-values.ts'
import { Edits, isPlainValue } from './edits.ts'
import { asRoutes } from './rule-order.ts'
import { closes, haproxyTime, leftReason, needlessReason } from './haproxy-words.ts'
import { quoted } from './write-draft.ts'

/** A section with what the defaults before it say. */
interface Proxy {
  readonly section: Section
  readonly lines: readonly Statement[]
}

type Rule = DraftRoute

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
  readonly #proxies: Proxy[] = []
  /** Undefined: it cannot be used. */
  readonly #pools = new Map<string, DraftPool | undefined>()
  readonly #noted = new Set<Statement>()

  constructor(sections: readonly Section[], draft: Draft) {
    this.#sections = sections
    this.#draft = draft
  }

  run(): void {
    let defaults: readonly Statement[] = []
    for (const section of this.#sections) {
      if (section.kind === 'defaults') defaults = section.lines
      else if (section.kind === 'global') for (const line of section.lines) this.#globalLine(line)
      else if (section.kind === 'frontend' || section.kind === 'backend' || section.kind === 'listen') this.#proxy(section, defaults)
      else this.#draft.left(section, 'there is nothing like it here')
    }
    const fronts = this.#proxies.filter(({ section }) => section.kind !== 'backend')
    const [main, ...others] = fronts
    for (const { section } of others)
      this.#draft.left(section, 'what listens elsewhere needs a gateway of its own: routes hold on all listeners')
    if (main !== undefined) this.#frontend(main)
    for (const { section } of this.#proxies) {
      if (section.kind === 'backend' && !this.#pools.has(section.name)) this.#draft.left(section, 'it is not used by what was translated')
    }
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

  #frontend({ section, lines }: Proxy): void {
    const acls = aclsOf(lines)
    const hasTls = lines.some(({ words }) => words[0] === 'bind' && words.includes('ssl') && words.includes('crt'))
    const toHttps = hasTls ? lines.map(httpsRedirectOf).find((found) => found !== undefined) : undefined
    const first: Rule[] = []
    const rules: Rule[] = []
    const last: Rule[] = []
    const edits = new Edits('request')
    for (const line of lines) {
      const [word = ''] = line.words
      if (word === 'bind') this.#bind(line, toHttps)
      else if (toHttps !== undefined && httpsRedirectOf(line) !== undefined) continue
      else if (closes(line)) first.push(...this.#closing(line, acls))
      else if (word === 'use_backend') rules.push(...this.#rule(line, acls))
      else if (word === 'default_backend') last.push(...this.#to(line.words[1] ?? '', line, matchesOf(ANY)))
      else if (word === 'timeout') this.#timeout(line)
      else if (word === 'maxconn') this.#connections(line)
      else if (this.#isEdit(line, edits)) continue
      else if (section.kind === 'frontend' || !isOfBackend(line)) this.#other(line)
    }
    if (section.kind === 'listen' && lines.some(({ words }) => words[0] === 'server')) {
      last.push(...this.#to(section.name, section, matchesOf(ANY)))
    }
    const request = edits.text()
    const edited = (rule: Rule): Rule =>
      request === undefined || rule.keys[0]?.[0] !== 'pool'
        ? rule
        : { ...rule, keys: [...rule.keys, ['headers', `{ request: ${request} }`]] }
    this.#inOrder([...first, ...rules, ...last].map(edited))
  }

  /** `http-request set-header` and `del-header` of all requests. */
  #isEdit(line: Statement, edits: Edits): boolean {
    const [word = '', action = '', name = '', value = '', ...more] = line.words
    if (word !== 'http-request' || needlessReason(line) !== undefined) return false
    if (more.length > 0 || edits.wrongName(name) !== undefined) return false
    if (action === 'del-header' && value === '') edits.remove(name)
    // What begins with % is made of the request there.
    else if (action === 'set-header' && value !== '' && !/[%${}]/.test(value) && isPlainValue(value)) edits.set(name, value)
    else return false
    return true
  }

  #bind(line: Statement, toHttps: string | undefined): void {
    const [, where = '', ...parameters] = line.words
    const addresses = where.split(',').map(bindAddress)
    const crts = parameters.flatMap((word, i) => (word === 'crt' ? [parameters[i + 1] ?? ''] : []))
    const isTls = parameters.includes('ssl')
    const unknown = parameters.filter(
      (word, i) =>
        !isNeedlessBind(word, parameters[i - 1] ?? '') && !(isTls && (word === 'ssl' || word === 'crt' || parameters[i - 1] === 'crt')),
    )
    if (unknown.length > 0) return this.#draft.left(line, `not translated, and not listened on: ${unknown.join(' ')}`)
    for (const address of addresses) {
      if (address === undefined) this.#draft.left(line, 'only addresses and ports can be listened on')
      else if (isTls)
        this.#draft.listen(address, line, [
          ['tls', `{ certificates: [${crts.map((crt) => `{ cert: ${JSON.stringify(crt)}, key: ${JSON.stringify(crt)} }`).join(', ')}] }`],
        ])
      else if (toHttps !== undefined) this.#draft.listen(address, line, [['redirect', toHttps]])
      else this.#draft.listen(address, line)
    }
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

  #closing(line: Statement, acls: Acls): Rule[] {
    const own = actionOf(line)
    if (own === undefined) this.#draft.left(line, 'what it applies to is refused')
    if (line.words[0] === 'monitor-uri') return this.#refused([{ ...matchesOf(ANY)[0], path: line.words[1] ?? '/*' } as DraftMatch], line)
    const conditions = conditionsOf(withoutCondition(line.words).condition, acls)
    // Where it cannot be said to what it applies, that may be everything.
    if (typeof conditions === 'string') {
      if (own !== undefined) this.#draft.left(line, `${conditions}; it may be about any request, so that all are refused`)
      return this.#refused(matchesOf(ANY), line)
    }
    if (own === undefined) return this.#refused(conditions.flatMap(matchesOf), line)
    for (const differs of new Set(conditions.flatMap((each) => each.differs))) this.#draft.left(line, differs)
    return conditions.flatMap(matchesOf).map((match) => ({ match, keys: own, source: line, off: undefined }))
  }

  #refused(matches: readonly DraftMatch[], source: SourceLine): Rule[] {
    return matches.map((match) => ({ match, source, ...refused('what was done with it cannot be done here') }))
  }

  #rule(line: Statement, acls: Acls): Rule[] {
    const { words, condition } = withoutCondition(line.words)
    const conditions = conditionsOf(condition, acls)
    if (typeof conditions === 'string') {
      this.#draft.left(line, `${conditions}; it may be about any request, so that all are refused`)
      return this.#refused(matchesOf(ANY), line)
    }
    for (const differs of new Set(conditions.flatMap((each) => each.differs))) this.#draft.left(line, differs)
    return this.#to(words[1] ?? '', line, conditions.flatMap(matchesOf))
  }

  #to(name: string, source: SourceLine, matches: readonly DraftMatch[]): Rule[] {
    const pool = this.#poolOf(name)
    if (typeof pool !== 'string') return matches.map((match) => ({ match, keys: [['pool', quoted(pool.name)]], source, off: undefined }))
    this.#draft.left(source, pool)
    return matches.map((match) => ({ match, source, ...refused(pool) }))
  }

  /** Or why there is none. */
  #poolOf(name: string): DraftPool | string {
    const proxy = this.#proxies.find(({ section }) => section.kind !== 'frontend' && section.name === name)
    if (proxy === undefined) return `there is no backend ${name} that can be used`
    if (!this.#pools.has(name)) this.#pools.set(name, this.#import(proxy))
    return this.#pools.get(name) ?? `the servers of ${name} cannot be asked as they were`
  }

  #import({ section, lines }: Proxy): DraftPool | undefined {
    const isList = section.kind === 'listen'
    const own = isList ? lines.filter(isOfBackend) : lines
    const closing = isList ? [] : lines.filter(closes)
    for (const line of closing) this.#draft.left(line, 'what it applies to is refused')
    for (const line of own) if (line.words[0] === 'timeout') this.#timeout(line)
    const fresh = own.filter((line) => !closes(line) && !(this.#noted.has(line) && needlessReason(line) !== undefined))
    const pool = importBackend({ name: section.name, source: section, lines: fresh }, this.#draft)
    for (const line of fresh) this.#noted.add(line)
    for (const line of fresh) if (line.words[0] === 'http-request') this.#request(line)
    return closing.length > 0 ? undefined : pool
  }

  #request(line: Statement): void {
    const needless = needlessReason(line)
    if (needless !== undefined) this.#draft.needless(line, needless)
    else this.#draft.left(line, leftReason(line))
  }

  #inOrder(rules: readonly Rule[]): void {
    const targets = new Map<string, Rule>()
    const key = (rule: Rule): string => JSON.stringify([rule.keys, rule.off])
    for (const rule of rules) targets.set(key(rule), rule)
    const routes = asRoutes(rules.map((rule) => ({ match: rule.match, target: key(rule), source: rule.source })))
    if (routes === undefined) {
      for (const { source } of rules) this.#draft.left(source, 'the rules cross each other too often to become routes')
      return
    }
    for (const { match, target, source } of routes) {
      const { keys, off } = targets.get(target) as Rule
      this.#draft.route({ match, keys, off, source })
    }
  }
}

/** `redirect scheme https` of what does not come over TLS; how. Only as it is done here. */
function httpsRedirectOf({ words }: Statement): string | undefined {
  const text = words
    .join(' ')
    .replace(/^http-request /, '')
    .replaceAll(/\s*([{}])\s*/g, '$1')
  const found = /^redirect scheme https code (301|308) (?:if !\{ssl_fc\}|unless\{ssl_fc\})$/.exec(text)
  return found === null ? undefined : found[1] === '308' ? 'https' : '{ status: 301 }'
}

/** `http-request deny` and `redirect`, as far as they can be said. */
function actionOf(line: Statement): DraftRoute['keys'] | undefined {
  const { words } = withoutCondition(line.words)
  const [first = '', action = '', ...rest] = words[0] === 'redirect' ? ['http-request', ...words] : words
  if (first !== 'http-request') return undefined
  if (action === 'deny' && (rest.length === 0 || (rest.length === 2 && rest[0] === 'deny_status'))) {
    const status = Number(rest[1] ?? 403)
    return status >= 200 && status <= 599 ? answered(status, undefined) : undefined
  }
  if (action !== 'redirect') return undefined
  const [kind = '', to = '', ...options] = rest
  const code = options.length === 0 ? '302' : options.length === 2 && options[0] === 'code' ? options[1] : undefined
  if (code === undefined || !/^30[12378]$/.test(code) || /[%{}]/.test(to) || !/^(\/|https?:\/\/)[!-~]*$/.test(to)) return undefined
  if (kind !== 'location' && kind !== 'prefix') return undefined
  const target = kind === 'prefix' ? `${to.replace(/\/$/, '')}{request.target}` : to
  return [['redirect', `{ to: ${JSON.stringify(target)}, status: ${code} }`]]
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
  return /^(server|default-server|balance|cookie|http-check|hash-type|server-template|fullconn|retries|retry-on)$/.test(first)
}

/** `:80`, `*:80`, `10.0.0.1:80`, `[::]:80`, `:::80`. */
function bindAddress(text: string): string | undefined {
  const found = /^(ipv[46]@)?(\[?[0-9a-f:.]*\]?|\*):(\d{1,5})$/i.exec(text)
  const port = Number(found?.[3])
  if (found === null || port < 1 || port > 65_535) return undefined
  const host = found[2] ?? ''
  if (host === '' || host === '*') return `0.0.0.0:${port}`
  if (/^\d+\.\d+\.\d+\.\d+$/.test(host)) return `${host}:${port}`
  return host.includes(':') ? `[${host.replaceAll(/[[\]]/g, '')}]:${port}` : undefined
}

function isNeedlessBind(word: string, before: string): boolean {
  const isValue = /^(name|backlog|maxconn|id|nbconn|process|thread|tcp-ut)$/
  return isValue.test(word) || isValue.test(before) || /^(transparent|defer-accept|tfo|v4v6|v6only)$/.test(word)
}
