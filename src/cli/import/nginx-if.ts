/** `if` and `limit_except` of nginx, as far as what they look at is something that routes match. */
import type { ValueTest } from '../../core/routing/value-test.ts'
import { type DraftMatch, type DraftRoute, matchOf } from './draft.ts'
import { parseHostName } from './host-names.ts'
import type { Directive } from './nginx-parse.ts'
import { returned } from './nginx-values.ts'

/** `but`: it holds for all but these. */
export interface IfTest {
  readonly matches: readonly DraftMatch[]
  readonly isNegated: boolean
}

const ANY = matchOf(undefined, '/*')

/** Undefined: it looks at something else. */
export function ifTest({ args }: Directive): IfTest | undefined {
  const text = args
    .join(' ')
    .replace(/^\(\s*/, '')
    .replace(/\s*\)$/, '')
  const found = /^\$(\w+) ?(=|!=|~|!~) ?(.+)$/.exec(text)
  if (found === null) return undefined
  const [, variable = '', operator = '', wanted = ''] = found
  const isNegated = operator.startsWith('!')
  if (variable === 'request_method') {
    const methods = operator.endsWith('~') ? /^\^\(?((?:[A-Z]+\|)*[A-Z]+)\)?\$$/.exec(wanted)?.[1]?.split('|') : [wanted]
    const isPlain = methods?.every((method) => /^[A-Z]+$/.test(method)) === true
    return isPlain && methods !== undefined ? { matches: [{ ...ANY, methods }], isNegated } : undefined
  }
  if (variable === 'host') {
    const hosts = operator.endsWith('~') ? undefined : parseHostName(wanted)
    return hosts?.length === 1 ? { matches: [matchOf(hosts[0], '/*')], isNegated } : undefined
  }
  const [, kind = '', name = ''] = /^(http|arg)_(\w+)$/.exec(variable) ?? []
  const test = kind === '' ? undefined : valueTest(operator, wanted)
  if (test === undefined) return undefined
  if (kind === 'http') return { matches: [{ ...ANY, headers: { [name.toLowerCase().replaceAll('_', '-')]: test } }], isNegated: false }
  // Compared decoded here, and as it came there.
  return /^[\w.~-]+$/.test(wanted) ? { matches: [{ ...ANY, query: { [name]: test } }], isNegated: false } : undefined
}

/** Regular expressions that are nothing but a text, with one end of it or none. */
function valueTest(operator: string, wanted: string): ValueTest | undefined {
  const isRegex = operator.endsWith('~')
  const [, start = '', text = '', end = ''] = /^(\^?)([\w /:;,=-]+?)(\$?)$/.exec(wanted) ?? []
  if (isRegex && text === '') return undefined
  const test = !isRegex || (start !== '' && end !== '') ? (isRegex ? text : wanted) : part(text, { start: start !== '', end: end !== '' })
  if (typeof test === 'string' && /^(|""|'')$/.test(test)) return undefined
  return operator.startsWith('!') ? { not: test } : test
}

function part(
  text: string,
  at: { readonly start: boolean; readonly end: boolean },
): { prefix: string } | { suffix: string } | { contains: string } {
  if (at.start) return { prefix: text }
  return at.end ? { suffix: text } : { contains: text }
}

/** `limit_except GET … { deny all; }`: the methods; undefined: something else is said of the others. */
export function allowedMethods({ args, block = [] }: Directive): readonly string[] | undefined {
  const [only, ...others] = block
  if (only?.name !== 'deny' || only.args[0] !== 'all' || others.length > 0 || !args.every((method) => /^[A-Z]+$/.test(method)))
    return undefined
  return args.includes('GET') && !args.includes('HEAD') ? [...args, 'HEAD'] : args
}

/** `{ return … }` and nothing else. */
export function returnedIn({ block = [] }: Directive): DraftRoute['keys'] | undefined {
  const [only, ...others] = block
  return only?.name === 'return' && others.length === 0 ? returned(only) : undefined
}
