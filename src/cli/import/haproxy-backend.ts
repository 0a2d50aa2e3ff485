/** Backends of HAProxy (and the servers of `listen`), as pools. */
import { type Draft, type DraftPool, durationText, setIn, type SourceLine } from './draft.ts'
import { httpCheck, httpCheckOption, setHealth } from './haproxy-check.ts'
import type { Statement } from './haproxy-parse.ts'
import {
  asServer,
  leftParameters,
  type Parameters,
  parametersOf,
  type ServerContext,
  serverProxy,
  serverTls,
  unusableReason,
} from './haproxy-server.ts'
import { haproxySticky } from './haproxy-sticky.ts'
import { haproxyTime, isOfRules, leftReason, needlessReason } from './haproxy-words.ts'
import { NO_LIMIT, serverUrl } from './nginx-upstream.ts'
import { mapping, quoted } from './write-draft.ts'

export interface BackendLines {
  readonly name: string
  readonly source: SourceLine
  /** Its own, and those of the defaults that none of its own replaces. */
  readonly lines: readonly Statement[]
}

interface Given {
  readonly line: Statement
  readonly parameters: Parameters
  /** With `tls` and `proxyProtocol`, which are the pool's here. */
  readonly way: string
}

/** Undefined: none of its servers can be used. */
export function importBackend({ name, source, lines }: BackendLines, draft: Draft, context: ServerContext): DraftPool | undefined {
  const pool: DraftPool = { name: draft.poolName(name), source, servers: [], settings: [] }
  const defaults = new Map<string, string>()
  const given: Given[] = []
  for (const written of lines) {
    const line = asServer(written)
    if (line.words[0] === 'default-server') for (const [key, value] of parametersOf(line.words.slice(1))) defaults.set(key, value)
    if (line.words[0] !== 'server') continue
    const one = addServer(
      { ...line, text: written.text },
      new Map([...defaults, ...parametersOf(line.words.slice(3))]),
      { pool, given, context },
      draft,
    )
    if (one !== undefined) given.push({ ...one, line: written })
  }
  if (pool.servers.length === 0) {
    draft.left(source, 'none of its servers can be used')
    return undefined
  }
  for (const line of lines) poolLine(line, pool, draft)
  const [first] = given
  if (first !== undefined) setWay(first, pool, context)
  if (!pool.settings.some(({ path }) => path[0] === 'balance')) pool.settings.push({ path: ['balance'], value: 'round-robin', source })
  common(pool, given, draft)
  draft.pools.push(pool)
  return pool
}

/** How the servers are asked, beside their addresses. */
function setWay({ line, parameters }: Given, pool: DraftPool, context: ServerContext): void {
  const tls = parameters.has('ssl') ? serverTls(parameters, context) : undefined
  if (typeof tls === 'object') pool.settings.push({ path: ['tls'], value: tls.text, source: line })
  const proxy = serverProxy(parameters)
  if (proxy !== undefined) pool.settings.push({ path: ['proxyProtocol'], value: proxy, source: line })
}

function addServer(
  line: Statement,
  parameters: Parameters,
  { pool, given, context }: { readonly pool: DraftPool; readonly given: readonly Given[]; readonly context: ServerContext },
  draft: Draft,
): Given | undefined {
  const wrong = (reason: string): undefined => {
    draft.left(line, `${reason}; the server is left out`)
    return undefined
  }
  const isTls = parameters.has('ssl')
  const url = serverUrl(line.words[2] ?? '', isTls ? 'https' : 'http')
  if (url === undefined || !/:\d+$/.test(line.words[2] ?? '')) return wrong('a server is a host and a port here')
  if ((parameters.has('disabled') && !parameters.has('enabled')) || parameters.get('weight') === '0') {
    draft.needless(line, 'it gets nothing, and is left out')
    return undefined
  }
  const unusable = unusableReason(parameters)
  if (unusable !== undefined) return wrong(unusable)
  const tls = isTls ? serverTls(parameters, context) : undefined
  if (typeof tls === 'string') return wrong(tls)
  const way = `${tls?.text ?? ''} ${serverProxy(parameters) ?? ''}`
  if (given.some((other) => other.way !== way)) return wrong('TLS and the PROXY protocol are alike for all servers of a pool here')
  if (pool.servers.some((server) => server.url === url)) return wrong('a server stands in a pool once')
  const weight = Number(parameters.get('weight') ?? 1)
  if (!Number.isSafeInteger(weight) || weight < 1 || weight > 1000) return wrong('a weight is 1 to 1000 here')
  for (const reason of [...leftParameters(parameters), ...(tls?.left ?? [])]) draft.left(line, reason)
  if (/-ssl/.test([...parameters.keys()].filter((name) => name.startsWith('send-proxy')).join()))
    draft.left(line, 'the header of the PROXY protocol does not tell of TLS here')
  if (!isTls && parameters.has('check-ssl')) draft.left(line, 'checks go as requests go: without TLS')
  pool.servers.push({ url, weight: weight === 1 ? undefined : weight, backup: parameters.has('backup'), source: line })
  return { line, parameters, way }
}

/** What servers say of themselves and pools say here: possible where all say the same. */
function common(pool: DraftPool, given: readonly Given[], draft: Draft): void {
  const [first] = given
  if (first === undefined) return
  const said = (name: string, read: (text: string) => string | undefined): string | undefined => {
    const wanted = first.parameters.get(name)
    const value = wanted === undefined ? undefined : read(wanted)
    if (value !== undefined && given.every(({ parameters }) => parameters.get(name) === wanted)) return value
    for (const { parameters, line } of given)
      if (parameters.has(name)) draft.left(line, `${name} is one for all servers of a pool here, and not every value is possible`)
    return undefined
  }
  const count =
    (max: number) =>
    (text: string): string | undefined =>
      /^[1-9]\d{0,8}$/.test(text) && Number(text) <= max ? text : undefined
  const span = (text: string): string | undefined => durationText(haproxyTime(text) ?? 0)
  const max = said('maxconn', count(1_000_000))
  pool.settings.push({
    path: ['maxInFlight'],
    value: max ?? '1024',
    source: max === undefined ? pool.source : first.line,
    ...(max === undefined && { remark: NO_LIMIT }),
  })
  const health: readonly (readonly [name: string, key: string, read: (text: string) => string | undefined])[] = [
    ['inter', 'interval', span],
    ['fall', 'fall', count(100)],
    ['rise', 'rise', count(100)],
    ['port', 'port', count(65_535)],
  ]
  for (const [name, key, read] of health) {
    const value = said(name, read)
    if (value !== undefined) setHealth(pool, key, value, first.line)
  }
  setFastInterval({ fast: said('fastinter', span), down: said('downinter', span), first, given }, pool, draft)
  const slowStart = said('slowstart', span)
  if (slowStart !== undefined) setIn(pool.settings, { path: ['slowStart'], value: slowStart, source: first.line }, draft)
  setEject(given, pool, draft)
  mergeHealth(pool)
}

/** One here, while it is down and while a check speaks against its state. */
function setFastInterval(
  {
    fast,
    down,
    first,
    given,
  }: { readonly fast: string | undefined; readonly down: string | undefined; readonly first: Given; readonly given: readonly Given[] },
  pool: DraftPool,
  draft: Draft,
): void {
  const value = fast ?? down
  if (value === undefined) return
  setHealth(pool, 'fastInterval', value, first.line)
  if (fast === down) return
  const name = fast === undefined ? 'fastinter' : 'downinter'
  for (const { line } of given)
    draft.left(line, `${name}: fastInterval is one for servers that are down, and for those about to change here`)
}

/** Requests that fail take a server out, where they did. */
function setEject(given: readonly Given[], pool: DraftPool, draft: Draft): void {
  const ejects = ({ parameters }: Given): boolean => parameters.get('observe') === 'layer7' && parameters.get('on-error') === 'mark-down'
  const limit = given[0]?.parameters.get('error-limit') ?? '10'
  if (given.every((each) => ejects(each) && (each.parameters.get('error-limit') ?? '10') === limit) && /^[1-9]\d{0,2}$/.test(limit)) {
    pool.settings.push({
      path: ['eject'],
      value: `{ failures: ${limit} }`,
      source: given[0]?.line ?? pool.source,
      remark: 'for 30s, then longer; it comes back by itself',
    })
    return
  }
  for (const { line, parameters } of given)
    if (parameters.has('observe'))
      draft.left(line, 'observe: requests that fail take a server out here as eject says, of all servers of a pool alike')
}

/** `health` is one mapping. */
function mergeHealth({ settings }: DraftPool): void {
  const all = settings.filter(({ path }) => path[0] === 'health')
  // Without `option httpchk` a connection is the check, whatever is said of requests.
  const isHttp = all.some(({ path }) => path[1] === 'path')
  const parts = all.filter(({ path }) => isHttp || !/^(method|headers|status|body)$/.test(path[1] ?? ''))
  for (const part of all) settings.splice(settings.indexOf(part), 1)
  const [first] = parts
  if (first === undefined) return
  const value = mapping(parts.map(({ path, value: each }) => [path[1] ?? '', each]))
  settings.push({ path: ['health'], value, source: first.source })
}

function poolLine(line: Statement, pool: DraftPool, draft: Draft): void {
  const [word = '', second = '', third = ''] = line.words
  const setting = (path: readonly string[], value: string | undefined): void => {
    if (value === undefined) draft.left(line, 'not possible here')
    else setIn(pool.settings, { path, value, source: line }, draft)
  }
  if (/^(server|default-server|server-template|mode|retries|retry-on)$/.test(word) || isOfRules(line)) return
  if (word === 'balance') return setting(['balance'], balanceOf(line.words.slice(1)))
  if (word === 'hash-balance-factor') return setFactor(line, pool, draft)
  if (word === 'timeout' && second === 'queue') return setting(['wait'], durationText(haproxyTime(third) ?? 0))
  if (word === 'timeout' && second === 'check') {
    const time = durationText(haproxyTime(third) ?? 0)
    return time === undefined ? draft.left(line, 'not possible here') : setHealth(pool, 'timeout', time, line)
  }
  if (word === 'option' && second === 'httpchk') return httpCheckOption(line, pool, draft)
  if (word === 'http-check') return httpCheck(line, pool, draft)
  if (word === 'cookie') return haproxySticky(line, pool, draft)
  if (word === 'timeout') return
  const needless = needlessReason(line)
  if (needless !== undefined) draft.needless(line, needless)
  else draft.left(line, leftReason(line))
}

const BALANCES: Readonly<Record<string, string>> = {
  roundrobin: 'round-robin',
  'static-rr': 'round-robin',
  leastconn: 'least-requests',
  source: '{ hash: address }',
  uri: '{ hash: path }',
  random: 'random',
  'random(2)': 'random',
}
/** Of `balance hash`. */
const HASHED: Readonly<Record<string, string>> = { src: 'address', path: 'path' }

function balanceOf([algorithm = '', parameter = '', ...more]: readonly string[]): string | undefined {
  const header = /^hdr\(([\w-]+)\)$/.exec(algorithm)?.[1]
  if (header !== undefined && parameter === '') return `{ hash: ${quoted(`header:${header}`)} }`
  if (algorithm === 'url_param' && /^[\w.-]+$/.test(parameter) && more.length === 0) return `{ hash: ${quoted(`query:${parameter}`)} }`
  if (algorithm === 'hash' && more.length === 0) {
    const [, kind = '', name = ''] = /^(?:req\.)?(hdr|fhdr|cook|url_param|urlp)\(([\w.-]+)\)$/.exec(parameter) ?? []
    const source = { hdr: 'header', fhdr: 'header', cook: 'cookie', url_param: 'query', urlp: 'query' }[kind]
    const found = source === undefined ? (Object.hasOwn(HASHED, parameter) ? HASHED[parameter] : undefined) : `${source}:${name}`
    return found === undefined ? undefined : `{ hash: ${quoted(found)} }`
  }
  return parameter === '' && Object.hasOwn(BALANCES, algorithm) ? BALANCES[algorithm] : undefined
}

/** `150`: half as much more than its share. 0, as without it there: no bound, which there always is here. */
function setFactor(line: Statement, pool: DraftPool, draft: Draft): void {
  const factor = Number(line.words[1] ?? '')
  const balance = pool.settings.find(({ path, value }) => path[0] === 'balance' && value.startsWith('{ hash: '))
  if (!Number.isSafeInteger(factor) || factor <= 100 || factor > 1000 || balance === undefined)
    return draft.left(line, 'see over of balance: more than nothing, beside what is hashed')
  pool.settings.splice(pool.settings.indexOf(balance), 1, { ...balance, value: balance.value.replace(/ }$/, `, over: ${factor - 100}% }`) })
}
