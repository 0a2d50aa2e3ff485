/** How HAProxy checks servers over HTTP, as parts of `health`: `option httpchk` says that it does, `http-check` what is asked and what is healthy. */
import type { Draft, DraftPool, SourceLine } from './draft.ts'
import { isPlainValue } from './edits.ts'
import type { Statement } from './haproxy-parse.ts'
import { mapping, quoted } from './write-draft.ts'

/** Parts are put into `health` of the pool; one that is there is replaced. */
export function setHealth(pool: DraftPool, key: string, value: string, source: SourceLine): void {
  const at = pool.settings.findIndex(({ path }) => path.join('.') === `health.${key}`)
  if (at >= 0) pool.settings.splice(at, 1)
  pool.settings.push({ path: ['health', key], value, source })
}

/** `[method] uri [version and fields]`. */
export function httpCheckOption(line: Statement, pool: DraftPool, draft: Draft): void {
  const words = line.words.slice(2)
  const [method = 'OPTIONS', uri = '/', version = ''] = words.length > 1 ? words : ['OPTIONS', words[0] ?? '/']
  setMethod(line, method, pool, draft)
  setPath(line, uri, pool, draft)
  const fields = version.split(/\r\n/).slice(1)
  const pairs = fields.map((field) => [field.slice(0, field.indexOf(':')).trim(), field.slice(field.indexOf(':') + 1).trim()] as const)
  if (pairs.length > 0) setFields(line, pairs, pool, draft)
}

export function httpCheck(line: Statement, pool: DraftPool, draft: Draft): void {
  const [kind = '', ...words] = line.words.slice(1)
  if (kind === 'expect') return expected(line, words, pool, draft)
  if (kind !== 'send')
    return draft.left(
      line,
      kind === 'disable-on-404' ? 'a server says that it leaves in its answers here; see serverReports' : 'checks are one request here',
    )
  const fields: (readonly [string, string])[] = []
  for (let i = 0; i < words.length; i += 2) {
    const [word, value = ''] = [words[i], words[i + 1]]
    if (word === 'meth') setMethod(line, value, pool, draft)
    else if (word === 'uri') setPath(line, value, pool, draft)
    else if (word === 'hdr') fields.push([value, words[++i + 1] ?? ''])
    else if (word !== 'ver') draft.left(line, `${word} of a check is not there`)
  }
  if (fields.length > 0) setFields(line, fields, pool, draft)
}

function setMethod(line: Statement, method: string, pool: DraftPool, draft: Draft): void {
  if (method === 'HEAD') setHealth(pool, 'method', 'HEAD', line)
  else if (method !== 'GET') draft.left(line, `servers are checked with GET or HEAD here, not ${method}`)
}

function setPath(line: Statement, uri: string, pool: DraftPool, draft: Draft): void {
  if (/^\/[!-~]*$/.test(uri) && !uri.includes('#') && !uri.includes('%[')) setHealth(pool, 'path', quoted(uri), line)
  else draft.left(line, 'such a target cannot be asked for here')
}

function setFields(line: Statement, pairs: readonly (readonly [string, string])[], pool: DraftPool, draft: Draft): void {
  const isPlain = pairs.every(([name, value]) => /^[\w-]+$/.test(name) && isPlainValue(value) && !value.includes('%') && value !== '')
  if (!isPlain) return draft.left(line, 'such a field cannot be sent with a check here')
  setHealth(pool, 'headers', mapping(pairs.map(([name, value]) => [quoted(name), JSON.stringify(value)])), line)
}

/** `status 200-399`, `status 200,204`, `! status 500-599`, `rstatus ^2`, `string fine`. */
function expected(line: Statement, words: readonly string[], pool: DraftPool, draft: Draft): void {
  const isNegated = words[0] === '!'
  const [kind = '', ...rest] = words.slice(isNegated ? 1 : 0)
  const text = rest.join(' ')
  if (kind === 'string' && !isNegated && text !== '' && text.length <= 1024) {
    setHealth(pool, 'body', JSON.stringify(text), line)
    return setHealth(pool, 'status', '["100-599"]', line)
  }
  const classes = /^\^\[?([1-5]+)\]?(?:\.\.|\[0-9\]\[0-9\])?$/.exec(text)?.[1]
  const ranges =
    kind === 'rstatus' && classes !== undefined
      ? classes.split('').map((digit) => `${digit}00-${digit}99`)
      : kind === 'status'
        ? text.split(/[, ]+/)
        : []
  const spans = ranges
    .map((range) => /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(range))
    .map((found) => found && ([Number(found[1]), Number(found[2] ?? found[1])] as const))
  const known = spans.filter((span) => span !== null)
  if (known.length === 0 || known.length < spans.length)
    return draft.left(line, 'an answer is healthy by its status, or by a text in it here')
  const status = (isNegated ? others(known) : known).map(([from, to]) => (from === to ? String(from) : `"${from}-${to}"`))
  if (status.length === 0) return draft.left(line, 'no answer would be healthy')
  setHealth(pool, 'status', `[${status.join(', ')}]`, line)
}

type Span = readonly [number, number]

function others(spans: readonly Span[]): Span[] {
  const found: Span[] = []
  let from = 100
  for (const [start, end] of spans.toSorted(([a], [b]) => a - b)) {
    if (start > from) found.push([from, start - 1])
    from = Math.max(from, end + 1)
  }
  if (from <= 599) found.push([from, 599])
  return found
}
