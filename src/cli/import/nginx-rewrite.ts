/** `rewrite` of nginx, where its regular expression is nothing but the beginning of a path: what it takes, and what comes out. */
import { type DraftMatch, type DraftRoute, matchOf } from './draft.ts'
import type { Directive } from './nginx-parse.ts'
import { templateOf } from './nginx-values.ts'
import { pathsOf } from './nginx-words.ts'

export interface Rewrite {
  readonly match: DraftMatch
  /** For a redirect its keys, else the path that servers are asked for, as a template. */
  readonly keys?: DraftRoute['keys']
  readonly path?: string
  /** What is not quite the same. */
  readonly differs?: string
}

const REDIRECTS: Readonly<Record<string, number>> = { permanent: 301, redirect: 302 }

/** One for each path that it takes. Undefined: it cannot be said. */
export function rewritesOf({ args }: Directive): readonly Rewrite[] | undefined {
  const [regex = '', replacement = '', flag = '', ...more] = args
  const isUrl = /^https?:\/\/|^\$scheme:/.test(replacement)
  const status = Object.hasOwn(REDIRECTS, flag) ? REDIRECTS[flag] : isUrl ? 302 : undefined
  if (more.length > 0 || (status === undefined && flag !== 'break')) return undefined
  const taken = takenBy(regex)
  if (taken === undefined) return undefined
  const rewrites = taken.map(({ path, rest }) => {
    const one = status === undefined ? servedPath(replacement, rest) : redirected(replacement, rest, { status, path })
    return one === undefined ? undefined : { match: matchOf(undefined, path), ...one }
  })
  return rewrites.every((each) => each !== undefined) ? rewrites : undefined
}

/** What `$1` stands for, as a template; undefined: there is none. */
interface Taken {
  readonly path: string
  readonly rest: string | undefined
}

/** `^/a/(.*)$`, `^/a/?(.*)$`, `^/a$`, `^(.*)$`, `^`. */
function takenBy(regex: string): readonly Taken[] | undefined {
  if (/^(\^|\^?\.\*\$?|\^\/)$/.test(regex)) return [{ path: '/*', rest: undefined }]
  if (/^\^?\(\.\*\)\$?$/.test(regex)) return [{ path: '/*', rest: '/{*}' }]
  const found = /^\^((?:\/|[\w~%-]|\\[.-])+)(\/\?)?(\(\.[*+]\)|\.\*)?(\$)?$/.exec(regex)
  if (found === null) return undefined
  const [, begin = '', slash, group, end] = found
  const text = begin.replaceAll('\\', '')
  if (text.endsWith('/') && slash === undefined && (group !== undefined || end === undefined)) {
    // `.+` asks for something behind the slash.
    if (group === '(.+)' || pathsOf(text, false) === undefined) return undefined
    return [{ path: `${text}*`, rest: group === '(.*)' ? '{*}' : undefined }]
  }
  if (pathsOf(text, true) === undefined) return undefined
  if (group === undefined && end !== undefined) {
    const own: Taken = { path: text, rest: undefined }
    return slash === undefined ? [own] : [own, { path: `${text}/`, rest: undefined }]
  }
  // Without a slash it would take `/ab` for `/a`, too: only with one that may be there the rest is what follows it.
  if (slash === undefined || group !== '(.*)') return undefined
  return [
    { path: text, rest: '' },
    { path: `${text}/*`, rest: '{*}' },
  ]
}

function servedPath(replacement: string, rest: string | undefined): Pick<Rewrite, 'path'> | undefined {
  const path = filledIn(replacement, rest)
  return path === undefined || !/^\/[A-Za-z0-9._~!&'()*+,;=:@%{}/-]*$/.test(path) ? undefined : { path }
}

function redirected(
  replacement: string,
  rest: string | undefined,
  { status, path }: { readonly status: number; readonly path: string },
): Pick<Rewrite, 'keys' | 'differs'> | undefined {
  const isBare = replacement.endsWith('?')
  const isWhole = path === '/*' && !isBare && (rest === '{*}' ? /\/\$1$/ : /[^/]\$1$/).test(replacement) && rest !== undefined
  const text = isWhole ? replacement.replace(/\/?\$1$/, '$request_uri') : isBare ? replacement.slice(0, -1) : replacement
  if (text.includes('?')) return undefined
  const filled = filledIn(text, rest)
  if (filled === undefined || !/^(\/|https?:\/\/)/.test(filled.replace('{request.scheme}', 'http')) || !/^[!-~]*$/.test(filled))
    return undefined
  const to = isBare || isWhole || text.endsWith('$request_uri') ? filled : `${filled}?{request.query}`
  const differs = to === filled ? undefined : 'a request without a query is sent to a URL that ends with "?" here'
  return { keys: [['redirect', `{ to: ${JSON.stringify(to)}, status: ${status} }`]], ...(differs !== undefined && { differs }) }
}

function filledIn(replacement: string, rest: string | undefined): string | undefined {
  const parts = replacement.split('$1')
  if (parts.length > 1 && rest === undefined) return undefined
  const templates = parts.map(templateOf)
  return templates.every((part) => part !== undefined) ? templates.join(rest ?? '') : undefined
}
