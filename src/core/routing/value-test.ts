/**
 * What a header or a query parameter must look like for a route: one value exactly, or a test of it. No regular expressions: those of JavaScript
 * can take exponential time on texts that clients choose, and each of these takes linear time (ADR 18).
 */

export type SimpleTest =
  /** Exactly this. */
  | string
  | { readonly prefix: string }
  | { readonly suffix: string }
  | { readonly contains: string }
  /** One of these. */
  | { readonly in: readonly string[] }

export type ValueTest =
  | SimpleTest
  | { readonly present: boolean }
  /** None of its values is so; also when it is not there. */
  | { readonly not: SimpleTest }

/** `values`: all that a name has; none: it is not there. */
export function passes(test: ValueTest, values: readonly string[]): boolean {
  if (typeof test === 'object') {
    if ('present' in test) return test.present === values.length > 0
    if ('not' in test) return !values.some((value) => isSo(test.not, value))
  }
  return values.some((value) => isSo(test, value))
}

function isSo(test: SimpleTest, value: string): boolean {
  if (typeof test === 'string') return value === test
  if ('prefix' in test) return value.startsWith(test.prefix)
  if ('suffix' in test) return value.endsWith(test.suffix)
  if ('contains' in test) return value.includes(test.contains)
  return test.in.includes(value)
}

/** What one value that passes both must pass, as one test; false: there is no such value; undefined: it takes two tests to say it. */
export function meetOf(a: ValueTest, b: ValueTest): ValueTest | false | undefined {
  if (testText('', a) === testText('', b)) return a
  const [one, other] = typeof a === 'string' || (typeof b !== 'string' && 'present' in a) ? [a, b] : [b, a]
  if (typeof one === 'string') return passes(other, [one]) ? one : false
  if (!('present' in one) || typeof other === 'string') return undefined
  if ('present' in other) return false
  if (one.present) return 'not' in other ? undefined : other
  return 'not' in other ? one : false
}

/** The texts that are compared with. */
export function textsOf(test: ValueTest): readonly string[] {
  if (typeof test === 'string') return [test]
  return Object.values(test).flatMap((value: string | boolean | readonly string[] | SimpleTest): readonly string[] => {
    if (typeof value === 'boolean') return []
    if (typeof value === 'string') return [value]
    return 'length' in value ? value : textsOf(value)
  })
}

/** For names of routes, and for people: `x-beta=on`, `x-beta present`, `x-beta not =on`. */
export function testText(name: string, test: ValueTest): string {
  if (typeof test === 'string') return `${name}=${plain(test)}`
  if ('present' in test) return test.present ? name : `!${name}`
  if ('not' in test) return `!${testText(name, test.not)}`
  if ('prefix' in test) return `${name}=${plain(test.prefix)}*`
  if ('suffix' in test) return `${name}=*${plain(test.suffix)}`
  if ('contains' in test) return `${name}=*${plain(test.contains)}*`
  return `${name}=${test.in.map(plain).join('|')}`
}

/** What could be taken for one of our signs stands in quotes: no two tests are called the same. */
function plain(text: string): string {
  return /[*|"]/.test(text) ? JSON.stringify(text) : text
}

/** What is wanted, for who reads why a route was not taken. */
export function wantedText(test: ValueTest): string {
  if (typeof test === 'string') return `is not "${test}"`
  if ('present' in test) return test.present ? 'is not there' : 'is there'
  if ('not' in test) return `is what it must not be (${testText('', test.not).slice(1)})`
  if ('prefix' in test) return `does not begin with "${test.prefix}"`
  if ('suffix' in test) return `does not end with "${test.suffix}"`
  if ('contains' in test) return `does not contain "${test.contains}"`
  return `is none of ${test.in.map((value) => `"${value}"`).join(', ')}`
}
