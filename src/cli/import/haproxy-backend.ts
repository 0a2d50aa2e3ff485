/** Backends of HAProxy (and the servers of `listen`), as pools. */
import { type Draft, type DraftPool, durationText, setIn, type Setting, type SourceLine } from './draft.ts'
import type { Statement } from './haproxy-parse.ts'
import { haproxyTime, leftReason, needlessReason } from './haproxy-words.ts'
import { NO_LIMIT, serverUrl } from './nginx-upstream.ts'
import { quoted } from './write-draft.ts'

export interface BackendLines {
  readonly name: string
  readonly source: SourceLine
  /** Its own, and those of the defaults that none of its own replaces. */
  readonly lines: readonly Statement[]
}

type Parameters = ReadonlyMap<string, string>

const FLAGS = new Set(
  'check no-check backup disabled enabled ssl no-ssl send-proxy send-proxy-v2 send-proxy-v2-ssl check-ssl no-check-ssl check-send-proxy non-stick tfo force-tlsv12 force-tlsv13 no-verifyhost'.split(
    ' ',
  ),
)
/** Said for the pool, or of no importance here. */
const KNOWN = new Set(
  'check no-check backup enabled weight maxconn inter fall rise slowstart fastinter downinter non-stick no-ssl no-check-ssl init-addr cookie pool-max-conn pool-purge-delay pool-low-conn resolvers'.split(
    ' ',
  ),
)
/** Without them the server could not be asked, or not safely. */
const UNUSABLE = new Set('ssl send-proxy send-proxy-v2 send-proxy-v2-ssl proto source'.split(' '))

/** Undefined: none of its servers can be used. */
export function importBackend({ name, source, lines }: BackendLines, draft: Draft): DraftPool | undefined {
  const pool: DraftPool = { name: draft.poolName(name), source, servers: [], settings: [] }
  const defaults = new Map<string, string>()
  const given: { readonly parameters: Parameters; readonly line: Statement }[] = []
  for (const line of lines) {
    if (line.words[0] === 'default-server') for (const [key, value] of parametersOf(line.words.slice(1))) defaults.set(key, value)
    if (line.words[0] === 'server') {
      const parameters = new Map([...defaults, ...parametersOf(line.words.slice(3))])
      if (addServer(line, parameters, pool, draft)) given.push({ parameters, line })
    }
  }
  if (pool.servers.length === 0) {
    draft.left(source, 'none of its servers can be used')
    return undefined
  }
  for (const line of lines) poolLine(line, pool, draft)
  if (!pool.settings.some(({ path }) => path[0] === 'balance')) pool.settings.push({ path: ['balance'], value: 'round-robin', source })
  common(pool, given, draft)
  draft.pools.push(pool)
  return pool
}

function parametersOf(words: readonly string[]): Map<string, string> {
  const parameters = new Map<string, string>()
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string
    parameters.set(word, FLAGS.has(word) ? '' : (words[++i] ?? ''))
  }
  return parameters
}

function addServer(line: Statement, parameters: Parameters, pool: DraftPool, draft: Draft): boolean {
  const url = serverUrl(line.words[2] ?? '')
  const wrong = (reason: string): boolean => {
    draft.left(line, `${reason}; the server is left out`)
    return false
  }
  if (url === undefined || !/:\d+$/.test(line.words[2] ?? '')) return wrong('a server is a host and a port here')
  if (parameters.has('disabled') || parameters.get('weight') === '0') {
    draft.needless(line, 'it gets nothing, and is left out')
    return false
  }
  const unusable = [...parameters.keys()].find((name) => UNUSABLE.has(name))
  if (unusable !== undefined) return wrong(`${unusable} is not translated`)
  if (pool.servers.some((server) => server.url === url)) return wrong('a server stands in a pool once')
  const unknown = [...parameters.keys()].filter((name) => !KNOWN.has(name) && name !== 'verify')
  if (unknown.length > 0) draft.left(line, `not translated: ${unknown.join(', ')}`)
  const weight = Number(parameters.get('weight') ?? 1)
  if (!Number.isSafeInteger(weight) || weight < 1 || weight > 1000) return wrong('a weight is 1 to 1000 here')
  pool.servers.push({ url, weight: weight === 1 ? undefined : weight, backup: parameters.has('backup'), source: line })
  return true
}

/** What servers say of themselves and pools say here: possible where all say the same. */
function common(pool: DraftPool, given: readonly { readonly parameters: Parameters; readonly line: Statement }[], draft: Draft): void {
  const [first] = given
  if (first === undefined) return
  const said = (name: string, path: readonly string[], read: (text: string) => string | undefined): boolean => {
    const wanted = first.parameters.get(name)
    const value = wanted === undefined ? undefined : read(wanted)
    if (value !== undefined && given.every(({ parameters }) => parameters.get(name) === wanted)) {
      return setIn(pool.settings, { path, value, source: first.line }, draft)
    }
    for (const { parameters, line } of given)
      if (parameters.has(name)) draft.left(line, `${name} is one for all servers of a pool here, and not every value is possible`)
    return false
  }
  const count =
    (max: number) =>
    (text: string): string | undefined =>
      /^[1-9]\d{0,8}$/.test(text) && Number(text) <= max ? text : undefined
  const span = (text: string): string | undefined => durationText(haproxyTime(text) ?? 0)
  if (!said('maxconn', ['maxInFlight'], count(1_000_000)))
    pool.settings.push({ path: ['maxInFlight'], value: '1024', source: pool.source, remark: NO_LIMIT })
  said('inter', ['health', 'interval'], span)
  said('fall', ['health', 'fall'], count(100))
  said('rise', ['health', 'rise'], count(100))
  said('slowstart', ['slowStart'], span)
  mergeHealth(pool)
}

/** `health` is one mapping. */
function mergeHealth({ settings }: DraftPool): void {
  const parts = settings.filter(({ path }) => path[0] === 'health')
  const [first] = parts
  if (first === undefined) return
  const value = `{ ${parts.map(({ path, value: each }) => `${path[1]}: ${each}`).join(', ')} }`
  for (const part of parts) settings.splice(settings.indexOf(part), 1)
  settings.push({ path: ['health'], value, source: first.source })
}

const BALANCES: Readonly<Record<string, string>> = {
  roundrobin: 'round-robin',
  'static-rr': 'round-robin',
  leastconn: 'least-requests',
  source: '{ hash: address }',
  uri: '{ hash: path }',
  random: 'random',
}

function poolLine(line: Statement, pool: DraftPool, draft: Draft): void {
  const [word = '', second = '', third = ''] = line.words
  const setting = (path: readonly string[], value: string | undefined): void => {
    if (value === undefined) draft.left(line, 'not possible here')
    else setIn(pool.settings, { path, value, source: line } satisfies Setting, draft)
  }
  if (word === 'server' || word === 'default-server' || word === 'mode' || word === 'http-request' || word === 'redirect') return
  if (word === 'balance') return setting(['balance'], balanceOf(line.words.slice(1)))
  if (word === 'timeout' && (second === 'queue' || second === 'check')) {
    return setting(second === 'queue' ? ['wait'] : ['health', 'timeout'], durationText(haproxyTime(third) ?? 0))
  }
  if (word === 'option' && second === 'httpchk') return setChecked(line, line.words.slice(2), pool, draft)
  if (word === 'http-check') return httpCheck(line, pool, draft)
  if (word === 'cookie') return setSticky(line, pool, draft)
  if (word === 'timeout') return
  const needless = needlessReason(line)
  if (needless !== undefined) draft.needless(line, needless)
  else draft.left(line, leftReason(line))
}

/** `cookie NAME insert …`; what is said of the cookie beside that is the way it is here, too. */
function setSticky(line: Statement, pool: DraftPool, draft: Draft): void {
  const [, name = '', ...options] = line.words
  const isAlike =
    options.includes('insert') && options.every((option) => /^(insert|indirect|nocache|httponly|secure|preserve)$/.test(option))
  if (!isAlike || !/^[A-Za-z][A-Za-z0-9_-]{0,60}$/.test(name))
    return draft.left(line, 'only cookies of our own are there, as by insert; see sticky')
  setIn(
    pool.settings,
    {
      path: ['sticky'],
      value: `{ cookie: ${options.includes('secure') ? `{ name: ${quoted(name)}, secure: true }` : quoted(name)} }`,
      source: line,
    },
    draft,
  )
  const remark = 'made by: openssl rand -base64 32'
  draft.set({ path: ['sticky', 'keys'], value: '[{ id: first, secret: "${STICKY_KEY}" }]', source: line, remark })
}

function balanceOf([algorithm = '', parameter = '', ...more]: readonly string[]): string | undefined {
  const header = /^hdr\(([^()]+)\)$/.exec(algorithm)?.[1]
  if (header !== undefined) return `{ hash: ${quoted(`header:${header}`)} }`
  if (algorithm === 'url_param' && parameter !== '' && more.length === 0) return `{ hash: ${quoted(`query:${parameter}`)} }`
  if (algorithm.startsWith('random')) return /^random(\(2\))?$/.test(algorithm) ? 'random' : undefined
  return parameter === '' && Object.hasOwn(BALANCES, algorithm) ? BALANCES[algorithm] : undefined
}

/** `[method] uri [version]`. */
function setChecked(line: Statement, words: readonly string[], pool: DraftPool, draft: Draft): void {
  const [method, uri] = words.length > 1 ? [words[0] ?? '', words[1] ?? ''] : ['OPTIONS', words[0] ?? '/']
  if (method !== 'GET') draft.left(line, `servers are checked with GET here, not ${method}`)
  setPath(line, uri, pool, draft)
}

function setPath(line: Statement, uri: string, pool: DraftPool, draft: Draft): void {
  if (!/^\/[!-~]*$/.test(uri) || uri.includes('#')) return draft.left(line, 'such a target cannot be asked for here')
  const at = pool.settings.findIndex(({ path }) => path.join('.') === 'health.path')
  if (at >= 0) pool.settings.splice(at, 1)
  setIn(pool.settings, { path: ['health', 'path'], value: quoted(uri), source: line }, draft)
}

function httpCheck(line: Statement, pool: DraftPool, draft: Draft): void {
  const words = line.words.slice(1)
  if (words[0] === 'expect') {
    if (words.join(' ') === 'expect status 200-399') return
    return draft.left(line, '200 to 399 is healthy here, whatever else is in the answer')
  }
  const [uri, method] = [words[words.indexOf('uri') + 1] ?? '', words[words.indexOf('meth') + 1] ?? '']
  if (words[0] !== 'send' || !words.includes('uri')) return draft.left(line, 'checks are one GET here')
  if (words.includes('meth') && method !== 'GET') draft.left(line, `servers are checked with GET here, not ${method}`)
  if (words.some((word) => word === 'hdr' || word === 'body')) draft.left(line, 'checks have no fields and no body of their own here')
  setPath(line, uri, pool, draft)
}
