/** Conditions of HAProxy, as what routes match: only such as mean the same here. */
import type { DraftMatch } from './draft.ts'
import { parseHostName } from './host-names.ts'
import type { Statement } from './haproxy-parse.ts'
import { pathsOf } from './nginx-words.ts'

/** What a request must show: one of each that is named. `differs`: what is not quite the same. */
export interface Condition {
  readonly hosts: readonly string[] | undefined
  readonly paths: readonly string[] | undefined
  readonly methods: readonly string[] | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly differs: readonly string[]
}

export const ANY: Condition = { hosts: undefined, paths: undefined, methods: undefined, headers: {}, differs: [] }

/** By name; several lines of one name are alternatives. */
export type Acls = ReadonlyMap<string, readonly Statement[]>

export function aclsOf(lines: readonly Statement[]): Acls {
  const acls = new Map<string, Statement[]>()
  for (const line of lines) {
    if (line.words[0] !== 'acl') continue
    const name = line.words[1] ?? ''
    acls.set(name, [...(acls.get(name) ?? []), line])
  }
  return acls
}

/** Of `if a b`, `if { path /x } c`; alternatives (`||`) are several. Or why it cannot be said. */
export function conditionsOf(words: readonly string[], acls: Acls): readonly Condition[] | string {
  if (words.length === 0) return [ANY]
  if (words[0] !== 'if') return `"${words[0]}" is not translated`
  const alternatives: Condition[] = []
  for (const terms of splitAt(words.slice(1), ['or', '||'])) {
    let all: Condition | string = ANY
    for (const term of termsOf(terms)) {
      const one: Condition | string = typeof term === 'string' ? named(term, acls) : fetched(term)
      if (typeof all === 'string') break
      all = typeof one === 'string' ? one : both(all, one)
    }
    if (typeof all === 'string') return all
    alternatives.push(all)
  }
  return alternatives
}

function splitAt(words: readonly string[], marks: readonly string[]): string[][] {
  const parts: string[][] = [[]]
  for (const word of words)
    if (marks.includes(word)) parts.push([])
    else (parts.at(-1) as string[]).push(word)
  return parts
}

/** A name, or the words between braces. */
function termsOf(words: readonly string[]): (string | readonly string[])[] {
  const terms: (string | readonly string[])[] = []
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string
    if (word === '!') terms.push(`!${words[++i] ?? ''}`)
    else if (word === '{' || word === '!{') {
      const end = words.indexOf('}', i)
      const inner = words.slice(i + 1, end < 0 ? words.length : end)
      if (word === '!{') terms.push('!{')
      else terms.push(inner)
      i = end < 0 ? words.length : end
    } else terms.push(word)
  }
  return terms
}

const PREDEFINED: Readonly<Record<string, readonly string[]>> = {
  METH_GET: ['GET', 'HEAD'],
  METH_HEAD: ['HEAD'],
  METH_POST: ['POST'],
  METH_PUT: ['PUT'],
  METH_DELETE: ['DELETE'],
  METH_OPTIONS: ['OPTIONS'],
}

function named(term: string, acls: Acls): Condition | string {
  if (term.startsWith('!')) return 'a negation cannot be matched here'
  if (term === 'TRUE') return ANY
  const methods = Object.hasOwn(PREDEFINED, term) ? PREDEFINED[term] : undefined
  if (methods !== undefined) return { ...ANY, methods }
  const lines = acls.get(term)
  if (lines === undefined) return `there is no acl ${term}`
  let found: Condition | undefined
  for (const line of lines) {
    const one = fetched(line.words.slice(2))
    if (typeof one === 'string') return one
    const sum: Condition | undefined = found === undefined ? one : either(found, one)
    if (sum === undefined) return `the lines of acl ${term} are about different things`
    found = sum
  }
  return found ?? `there is no acl ${term}`
}

/** A fetch, its flags, and what it may be. */
function fetched([fetch = '', ...rest]: readonly string[]): Condition | string {
  const flags = rest.filter((word) => word.startsWith('-'))
  const values = rest.filter((word) => !word.startsWith('-'))
  const isBlind = flags.includes('-i')
  const unknown = flags.find((flag) => flag !== '-i' && flag !== '--' && flag !== '-m')
  if (unknown !== undefined || flags.includes('-m')) return `the flag ${unknown ?? '-m'} is not translated`
  if (values.length === 0) return `"${fetch}" is not translated`
  const header = /^(?:req\.)?hdr\(([^,()]+)\)$/i.exec(fetch)?.[1]?.toLowerCase()
  if (header === 'host') return hostsOf(values)
  if (header !== undefined) {
    const [value = ''] = values
    if (values.length > 1 || isBlind) return `"${fetch}" is only translated with one value, compared exactly`
    return { ...ANY, headers: { [header]: value } }
  }
  if (/^(?:req\.)?(?:hdr_end|hdr_dom)\(host\)$/i.test(fetch)) {
    return fetch.includes('hdr_end') && values.every((value) => value.startsWith('.'))
      ? hostsOf(values.map((value) => `*${value}`))
      : `"${fetch}" is not translated`
  }
  if (fetch === 'method') return { ...ANY, methods: values.map((value) => value.toUpperCase()) }
  if (fetch === 'path' || fetch === 'path_beg') return pathsMatched(values, { isExact: fetch === 'path', isBlind })
  return `"${fetch}" is not translated`
}

function hostsOf(values: readonly string[]): Condition | string {
  const hosts: string[] = []
  for (const value of values) {
    const found = parseHostName(value.replace(/:\d+$/, ''))
    if (found === undefined || found.length !== 1) return `the host ${value} cannot be matched here`
    hosts.push(...found)
  }
  return { ...ANY, hosts }
}

function pathsMatched(values: readonly string[], { isExact, isBlind }: { isExact: boolean; isBlind: boolean }): Condition | string {
  const paths: string[] = []
  const differs: string[] =
    isBlind && values.some((value) => /[a-z]/i.test(value)) ? ['paths are compared exactly here, capitals included'] : []
  for (const value of values) {
    const found = pathsOf(value, isExact)
    if (found === undefined) return `the path ${value} cannot be matched here`
    paths.push(...found.paths)
    if (found.differs !== undefined) differs.push(found.differs)
  }
  return { ...ANY, paths, differs }
}

/** A request that fits both. */
function both(a: Condition, b: Condition): Condition | string {
  for (const key of ['hosts', 'paths', 'methods'] as const)
    if (a[key] !== undefined && b[key] !== undefined) return `two conditions on ${key} are not translated`
  for (const name of Object.keys(b.headers)) if (Object.hasOwn(a.headers, name)) return 'two conditions on one header are not translated'
  return {
    hosts: a.hosts ?? b.hosts,
    paths: a.paths ?? b.paths,
    methods: a.methods ?? b.methods,
    headers: { ...a.headers, ...b.headers },
    differs: [...a.differs, ...b.differs],
  }
}

/** A request that fits one of them; undefined where that is not one condition. */
function either(a: Condition, b: Condition): Condition | undefined {
  const keys = ['hosts', 'paths', 'methods'] as const
  const [key] = keys.filter((each) => a[each] !== undefined)
  const isAlike =
    key !== undefined && keys.every((each) => (a[each] !== undefined) === (each === key) && (b[each] !== undefined) === (each === key))
  if (!isAlike || Object.keys(a.headers).length + Object.keys(b.headers).length > 0) return undefined
  return { ...ANY, [key]: [...(a[key] ?? []), ...(b[key] ?? [])], differs: [...a.differs, ...b.differs] }
}

/** As many matches as it takes. */
export function matchesOf({ hosts, paths, methods, headers }: Condition): readonly DraftMatch[] {
  return (hosts ?? [undefined]).flatMap((host) =>
    (paths ?? ['/*']).map((path) => ({ host, path, methods: methods ?? [], headers, query: {} })),
  )
}

/** For notes. */
export function withoutCondition(words: readonly string[]): { readonly words: readonly string[]; readonly condition: readonly string[] } {
  const at = words.findIndex((word) => word === 'if' || word === 'unless')
  return at < 0 ? { words, condition: [] } : { words: words.slice(0, at), condition: words.slice(at) }
}
