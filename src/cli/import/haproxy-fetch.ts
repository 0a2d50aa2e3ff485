/** What conditions of HAProxy look at, and how they compare it: as tests of routes. */
import type { ValueTest } from '../../core/routing/value-test.ts'
import { type DraftMatch, matchOf } from './draft.ts'
import { parseHostName } from './host-names.ts'
import { pathsOf } from './nginx-words.ts'

export interface Test {
  readonly matches: readonly DraftMatch[]
  readonly differs: readonly string[]
}

type How = 'str' | 'beg' | 'end' | 'sub' | 'found' | 'absent'

interface Fetched {
  readonly kind: string
  /** Of a header or a parameter. */
  readonly name: string
  readonly how: How
  readonly isBlind: boolean
  readonly values: readonly string[]
}

const HOWS = new Set(['str', 'beg', 'end', 'sub', 'found'])

/** `hdr_beg(x) -i v w`, `path -m beg /x`; or why it is not translated. */
export function testsOf([fetch = '', ...rest]: readonly string[]): Fetched | string {
  const found = /^(?:req\.)?([a-z_]+?)(?:_(beg|end|sub|cnt))?(?:\(([^(),]+)\))?(?:,(?:lower|field\(1,:\)|host_only))?$/i.exec(fetch)
  if (found === null) return `"${fetch}" is not translated`
  const [, base = '', ending, argument = ''] = found
  const kind = { fhdr: 'hdr', urlp: 'url_param' }[base] ?? base
  const converted = fetch.includes(',')
  if (converted && !(kind === 'hdr' && argument.toLowerCase() === 'host')) return `"${fetch}" is not translated`
  const values: string[] = []
  let how = ending === undefined || ending === 'cnt' ? 'str' : ending
  let isBlind = false
  for (let i = 0; i < rest.length; i++) {
    const word = rest[i] as string
    if (word === '-i') isBlind = true
    else if (word === '-m') how = rest[++i] ?? ''
    else if (word === '--') values.push(...rest.slice(i + 1).splice(0))
    else if (/^-[a-z]$/.test(word)) return `the flag ${word} is not translated`
    else values.push(word)
    if (word === '--') break
  }
  if (!HOWS.has(how)) return `-m ${how} is not translated`
  const name = kind === 'hdr' ? argument.toLowerCase() : argument
  if (ending === 'cnt') return counted({ kind, name, values, fetch })
  if ((kind === 'hdr' || kind === 'url_param') !== (name !== '')) return `"${fetch}" is not translated`
  return { kind, name, how: how as How, isBlind, values }
}

/** `hdr_cnt(x) gt 0`, `hdr_cnt(x) eq 0`. */
function counted({
  kind,
  name,
  values,
  fetch,
}: {
  kind: string
  name: string
  values: readonly string[]
  fetch: string
}): Fetched | string {
  const text = values.join(' ')
  const how = /^(gt 0|ge 1)$/.test(text) ? 'found' : /^(eq 0|0|lt 1)$/.test(text) ? 'absent' : undefined
  if (how === undefined || kind !== 'hdr' || name === '') return `"${fetch}" is not translated`
  return { kind, name, how, isBlind: false, values: [] }
}

/** One of these. Without regard to capitals (`-i`): as they are written, and in small letters. */
export function valueTests({
  how,
  isBlind,
  values: written,
}: Fetched): { readonly tests: readonly ValueTest[]; readonly differs: readonly string[] } | string {
  const isDifferent = isBlind && written.some((value) => /[a-z]/i.test(value))
  const values = isDifferent ? [...new Set(written.flatMap((value) => [value, value.toLowerCase()]))] : written
  const tests = testsOfValues(how, values)
  if (typeof tests === 'string') return tests
  return { tests, differs: isDifferent ? ['values are compared exactly here: as they are written, or in small letters'] : [] }
}

function testsOfValues(how: How, values: readonly string[]): readonly ValueTest[] | string {
  if (how === 'found' || how === 'absent') return [{ present: how === 'found' }]
  const [first] = values
  if (first === undefined || values.includes('')) return 'what it is compared with is not translated'
  if (how === 'str') return values.length === 1 ? [first] : [{ in: values }]
  const key = ({ beg: 'prefix', end: 'suffix', sub: 'contains' } as const)[how]
  return values.map((value) => ({ [key]: value }) as unknown as ValueTest)
}

export function hostTest({ how, values }: Fetched): Test | string {
  const hosts: string[] = []
  if (values.length === 0) return 'a host is compared with names here'
  for (const value of values) {
    const text = how === 'end' && value.startsWith('.') ? `*${value}` : how === 'str' ? value.replace(/:\d+$/, '') : ''
    const found = text === '' ? undefined : parseHostName(text)
    if (found === undefined || found.length !== 1) return `a host is matched as a whole here, or with all below it, not by ${value}`
    hosts.push(...found)
  }
  return { matches: hosts.map((host) => matchOf(host, '/*')), differs: [] }
}

export function pathTest({ how, isBlind, values }: Fetched): Test | string {
  if ((how !== 'str' && how !== 'beg') || values.length === 0) return 'a path is matched as a whole here, or by its beginning'
  const paths: string[] = []
  const differs: string[] =
    isBlind && values.some((value) => /[a-z]/i.test(value)) ? ['paths are compared exactly here, capitals included'] : []
  for (const value of values) {
    const found = pathsOf(value, how === 'str')
    if (found === undefined) return `the path ${value} cannot be matched here`
    paths.push(...found.paths)
    if (found.differs !== undefined) differs.push(found.differs)
  }
  return { matches: [...new Set(paths)].map((path) => matchOf(undefined, path)), differs }
}
