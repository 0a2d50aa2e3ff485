/** Conditions of HAProxy, as what routes match: only such as mean the same here. */
import type { SimpleTest, ValueTest } from '../../core/routing/value-test.ts'
import { type DraftMatch, matchOf } from './draft.ts'
import { hostTest, pathTest, type Test, testsOf, valueTests } from './haproxy-fetch.ts'
import type { Statement } from './haproxy-parse.ts'
import { restricted } from './rules.ts'

/** Who fits one of `matches`, and none of `but`. `differs`: what is not quite the same. */
export interface Condition {
  readonly matches: readonly DraftMatch[]
  readonly but: readonly DraftMatch[]
  readonly differs: readonly string[]
}

const EVERYTHING = matchOf(undefined, '/*')
export const ANY: Condition = { matches: [EVERYTHING], but: [], differs: [] }

/** What conditions are looked up in. */
export interface AclContext {
  /** By name; several lines of one name are alternatives. */
  readonly acls: ReadonlyMap<string, readonly Statement[]>
  /** Whether all that is served came with TLS, or nothing; undefined: some of it. */
  readonly isTls: boolean | undefined
}

export function aclsOf(lines: readonly Statement[]): AclContext['acls'] {
  const acls = new Map<string, Statement[]>()
  for (const line of lines) {
    if (line.words[0] !== 'acl') continue
    const name = line.words[1] ?? ''
    acls.set(name, [...(acls.get(name) ?? []), line])
  }
  return acls
}

/** Of `if a b`, `unless a`, `if { path /x } !c`; alternatives (`||`) are several. Or why it cannot be said. */
export function conditionsOf(words: readonly string[], context: AclContext): readonly Condition[] | string {
  if (words.length === 0) return [ANY]
  const alternatives: Condition[] = []
  for (const terms of splitAt(words.slice(1), ['or', '||'])) {
    let all: Condition | string = ANY
    for (const term of termsOf(terms)) {
      const one: Condition | string = conditionOf(term, context)
      all = typeof all === 'string' ? all : typeof one === 'string' ? one : both(all, one)
    }
    if (typeof all === 'string') return all
    alternatives.push(all)
  }
  return words[0] === 'unless' ? negated(alternatives) : alternatives
}

function negated(alternatives: readonly Condition[]): readonly Condition[] | string {
  const differs = alternatives.flatMap((each) => each.differs)
  const [only, ...others] = alternatives
  if (alternatives.every(({ but }) => but.length === 0)) return [{ ...ANY, but: alternatives.flatMap(({ matches }) => matches), differs }]
  if (only !== undefined && others.length === 0 && only.matches === ANY.matches) return [{ matches: only.but, but: [], differs }]
  return 'such a negation is not translated'
}

function splitAt(words: readonly string[], marks: readonly string[]): string[][] {
  const parts: string[][] = [[]]
  for (const word of words)
    if (marks.includes(word)) parts.push([])
    else (parts.at(-1) as string[]).push(word)
  return parts
}

/** A name, or the words between braces. */
interface Term {
  readonly isNegated: boolean
  readonly said: string | readonly string[]
}

function termsOf(words: readonly string[]): Term[] {
  const terms: Term[] = []
  let isNegated = false
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string
    if (word === '!') {
      isNegated = !isNegated
      continue
    }
    const bare = word.replace(/^!/, '')
    const negates = isNegated !== (bare !== word)
    if (bare === '{') {
      const end = words.indexOf('}', i)
      terms.push({ isNegated: negates, said: words.slice(i + 1, end < 0 ? words.length : end) })
      i = end < 0 ? words.length : end
    } else terms.push({ isNegated: negates, said: bare })
    isNegated = false
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
  METH_CONNECT: ['CONNECT'],
  METH_TRACE: ['TRACE'],
}

function conditionOf({ isNegated, said }: Term, context: AclContext): Condition | string {
  const test = typeof said === 'string' ? named(said, context) : fetched(said, context)
  if (typeof test === 'string') return test
  if (!isNegated) return { matches: test.matches, but: [], differs: test.differs }
  // A field that is not so is one test.
  const inverse = inverted(test.matches)
  return inverse === undefined
    ? { ...ANY, but: test.matches, differs: test.differs }
    : { matches: [inverse], but: [], differs: test.differs }
}

function inverted([match, ...others]: readonly DraftMatch[]): DraftMatch | undefined {
  if (match === undefined || others.length > 0 || match.host !== undefined || match.path !== '/*' || match.methods.length > 0)
    return undefined
  const [[side, name, test] = ['headers', '', ''], ...more] = (['headers', 'query'] as const).flatMap((key) =>
    Object.entries(match[key]).map(([field, each]) => [key, field, each] as const),
  )
  const not = name === '' || more.length > 0 ? undefined : inverseOf(test)
  return not === undefined ? undefined : { ...EVERYTHING, [side]: { [name]: not } }
}

function inverseOf(test: ValueTest): ValueTest {
  if (typeof test === 'object' && 'present' in test) return { present: !test.present }
  if (typeof test === 'object' && 'not' in test) return test.not
  return { not: test satisfies SimpleTest }
}

function named(name: string, context: AclContext): Test | string {
  if (name === 'TRUE') return { matches: [EVERYTHING], differs: [] }
  if (name === 'FALSE') return { matches: [], differs: [] }
  const methods = Object.hasOwn(PREDEFINED, name) ? PREDEFINED[name] : undefined
  if (methods !== undefined) return { matches: [{ ...EVERYTHING, methods }], differs: [] }
  const lines = context.acls.get(name)
  if (lines === undefined) return `there is no acl ${name}`
  const all: Test[] = []
  for (const line of lines) {
    const one = fetched(line.words.slice(2), context)
    if (typeof one === 'string') return one
    all.push(one)
  }
  return { matches: all.flatMap(({ matches }) => matches), differs: all.flatMap(({ differs }) => differs) }
}

/** A fetch, its flags, and what it may be. */
function fetched(words: readonly string[], { isTls }: AclContext): Test | string {
  const [fetch = ''] = words
  const read = testsOf(words)
  if (typeof read === 'string') return read
  const { kind, name, values } = read
  if (kind === 'ssl_fc') {
    if (isTls === undefined) return 'whether a request came with TLS is a matter of the listener here'
    return { matches: isTls ? [EVERYTHING] : [], differs: [] }
  }
  if (kind === 'method' && values.length > 0)
    return { matches: [{ ...EVERYTHING, methods: values.map((value) => value.toUpperCase()) }], differs: [] }
  if (kind === 'path') return pathTest(read)
  if (kind === 'hdr' && name === 'host') return hostTest(read)
  if (kind !== 'hdr' && kind !== 'url_param')
    return kind === 'src' ? 'addresses of clients are not matched here' : `"${fetch}" is not translated`
  const compared = valueTests(read)
  if (typeof compared === 'string') return compared
  const side = kind === 'hdr' ? 'headers' : 'query'
  return { matches: compared.tests.map((test) => ({ ...EVERYTHING, [side]: { [name]: test } })), differs: compared.differs }
}

/** A request that fits both. */
function both(a: Condition, b: Condition): Condition | string {
  const matches =
    a.matches === ANY.matches
      ? b.matches
      : restricted(
          a.matches.map((match) => ({ match })),
          b.matches,
        )?.map(({ match }) => match)
  if (matches === undefined) return 'two conditions on one field are not translated'
  return { matches, but: [...a.but, ...b.but], differs: [...a.differs, ...b.differs] }
}

export function withoutCondition(words: readonly string[]): { readonly words: readonly string[]; readonly condition: readonly string[] } {
  const at = words.findIndex((word) => word === 'if' || word === 'unless')
  return at < 0 ? { words, condition: [] } : { words: words.slice(0, at), condition: words.slice(at) }
}
