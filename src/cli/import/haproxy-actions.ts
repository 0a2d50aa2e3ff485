/** What a rule of HAProxy does: answers, changes the request or its answer, or what cannot be said. */
import type { DraftRoute } from './draft.ts'
import { Edits, isPlainValue } from './edits.ts'
import { templateOfFormat } from './haproxy-format.ts'
import { answered } from './nginx-values.ts'
import { mapping } from './write-draft.ts'

/** What a route does beside asking its pool. */
export interface Changed {
  readonly request: Edits
  readonly response: Edits
  /** In the words of `rewrite`. */
  readonly rewrite: Map<'strip' | 'prefix' | 'path' | 'host', string>
}

/** `names`: fields that are another thing afterwards, in lower case; `path` for the path. `below`: only what is there is changed. */
export interface Change {
  readonly apply: (changed: Changed) => void
  readonly names: readonly string[]
  readonly below?: string
  /** Of requests that are not sent to a server, too. */
  readonly isOfAll?: boolean
}

export type Action =
  | { readonly kind: 'answer'; readonly keys: DraftRoute['keys'] }
  | { readonly kind: 'request' | 'response'; readonly change: Change }
  /** Later rules of this kind are not looked at. */
  | { readonly kind: 'allow' }
  /** It is left; `isClosing`: what it is about is refused. */
  | { readonly kind: 'left'; readonly isClosing: boolean }

/** Of a line without its condition. */
export function actionOf(words: readonly string[]): Action {
  const [word = '', action = '', ...rest] = words[0] === 'redirect' ? ['http-request', ...words] : words
  if (word === 'http-response' || word === 'http-after-response') return responseAction(action, rest, word === 'http-after-response')
  if (word === 'http-request') return requestAction(action, rest) ?? { kind: 'left', isClosing: CLOSING.has(action.replace(/\(.*$/, '')) }
  return { kind: 'left', isClosing: true }
}

const CLOSING = new Set(
  'deny tarpit reject auth redirect return silent-drop set-path replace-path set-uri replace-uri set-query set-pathq replace-pathq set-method set-dst set-dst-port normalize-uri wait-for-body use-service set-src'.split(
    ' ',
  ),
)

function requestAction(action: string, rest: readonly string[]): Action | undefined {
  if (action === 'deny' || action === 'return') {
    const keys = replied(action, rest)
    return keys && { kind: 'answer', keys }
  }
  if (action === 'redirect') {
    const keys = redirected(rest)
    return keys && { kind: 'answer', keys }
  }
  if (action === 'allow' && rest.length === 0) return { kind: 'allow' }
  const change = action.endsWith('-path') ? pathChange(action, rest) : fieldChange(action, rest, 'request')
  return change && { kind: 'request', change }
}

function responseAction(action: string, rest: readonly string[], isOfAll: boolean): Action {
  const change = fieldChange(action, rest, 'response')
  if (change !== undefined) return { kind: 'response', change: { ...change, isOfAll } }
  return { kind: 'left', isClosing: /^(deny|return|redirect)$/.test(action) }
}

function fieldChange(
  action: string,
  [name = '', value = '', ...more]: readonly string[],
  side: 'request' | 'response',
): Change | undefined {
  const names = [name.toLowerCase()]
  if (side === 'request' && action === 'set-header' && names[0] === 'host' && more.length === 0) {
    return /^[A-Za-z0-9_]([\w.-]*\w)?(:\d{1,5})?$/.test(value) ? { names, apply: ({ rewrite }) => rewrite.set('host', value) } : undefined
  }
  if (new Edits(side).wrongName(name) !== undefined || more.length > 0) return undefined
  if (action === 'del-header' && value === '') return { names, apply: (changed) => changed[side].remove(name) }
  const template = value === '' ? undefined : templateOfFormat(value)
  if (template === undefined) return undefined
  if (action === 'set-header') return { names, apply: (changed) => changed[side].set(name, template) }
  return action === 'add-header' ? { names, apply: (changed) => changed[side].add(name, template) } : undefined
}

const SEGMENTS = /^(\/(?!\.{1,2}(\/|$))[A-Za-z0-9._~-]+)+$/

/** What stands before a path, or is taken away from it. */
function pathChange(action: string, [first = '', second = '', ...more]: readonly string[]): Change | undefined {
  const change = (below: string | undefined, ...parts: readonly (readonly ['strip' | 'prefix' | 'path', string])[]): Change => ({
    names: ['path'],
    ...(below !== undefined && { below }),
    apply: ({ rewrite }) => {
      for (const [key, value] of parts) rewrite.set(key, value)
    },
  })
  if (action === 'set-path' && second === '') {
    const [, prefix = '', strip] = /^(\/[^%]*)?%\[path(?:,regsub\(\^?(\/[^(),]+)\/,\/\))?\]$/.exec(first) ?? []
    const isPlain = [prefix, strip ?? ''].every((part) => part === '' || SEGMENTS.test(part))
    if (first.endsWith(']') && isPlain && prefix + (strip ?? '') !== '' && (strip === undefined || first.includes('(^')))
      return change(
        strip && `${strip}/*`,
        ...(strip === undefined ? [] : [['strip', strip] as const]),
        ...(prefix === '' ? [] : [['prefix', prefix] as const]),
      )
    return /^\/[A-Za-z0-9._~/-]*$/.test(first) ? change(undefined, ['path', first]) : undefined
  }
  if (action !== 'replace-path' || more.length > 0) return undefined
  const to = /^(\/.*?)?\/\\1$/.exec(second)
  const below = /^\^(\/[^()\\[\]*+?.|^$]+)\/\(\.\*\)\$?$/.exec(first)?.[1]
  if (below !== undefined && to !== null && SEGMENTS.test(below) && (to[1] === undefined || SEGMENTS.test(to[1])))
    return change(`${below}/*`, ['strip', below], ...(to[1] === undefined ? [] : [['prefix', to[1]] as const]))
  const before = /^(\/.+)\\1$/.exec(second)?.[1]
  if (/^\^?\(\.\*\)\$?$/.test(first) && before !== undefined && SEGMENTS.test(before)) return change(undefined, ['prefix', before])
  return undefined
}

/** `deny` and `return`, with a text or without. */
function replied(action: string, words: readonly string[]): DraftRoute['keys'] | undefined {
  let status = action === 'deny' ? 403 : 200
  let body: string | undefined
  const headers = new Map<string, string>()
  const parts: string[] = []
  for (let i = 0; i < words.length; i++) {
    const [word, value = ''] = [words[i], words[++i]]
    const isStatus = word === (action === 'deny' ? 'deny_status' : 'status') || word === 'status'
    if (isStatus && /^[2-5]\d\d$/.test(value)) status = Number(value)
    else if (word === 'content-type' && isPlainValue(value)) headers.set('Content-Type', value)
    else if (word === 'string' || (word === 'lf-string' && !value.includes('%'))) body = value
    else if (word === 'file') parts.push(`file: ${JSON.stringify(value)}`)
    else if (word === 'hdr' && isPlainValue(words[i + 1] ?? '%') && !(words[i + 1] ?? '%').includes('%'))
      headers.set(value, words[++i] ?? '')
    else if (word === 'default-errorfiles') i--
    else return undefined
  }
  const edits = new Edits('response')
  if ([...headers.keys()].some((name) => edits.wrongName(name) !== undefined) || (parts.length > 0 && body !== undefined)) return undefined
  if ((status === 204 || status === 304) && (body !== undefined || parts.length > 0)) return undefined
  if (headers.size === 0 && parts.length === 0) return answered(status, body)
  const pairs: [string, string][] = [['status', String(status)]]
  if (body !== undefined && body !== '') pairs.push(['body', JSON.stringify(body)])
  if (headers.size > 0) pairs.push(['headers', mapping([...headers].map(([name, value]) => [JSON.stringify(name), JSON.stringify(value)]))])
  return [['answer', `{ ${[...pairs.map(([key, value]) => `${key}: ${value}`), ...parts].join(', ')} }`]]
}

/** `location`, `prefix` and `scheme`. */
function redirected([kind = '', text = '', ...options]: readonly string[]): DraftRoute['keys'] | undefined {
  const to = templateOfFormat(text)
  const isBare = options[0] === 'drop-query'
  const rest = isBare ? options.slice(1) : options
  const code = rest.length === 0 ? '302' : rest.length === 2 && rest[0] === 'code' ? rest[1] : undefined
  if (to === undefined || code === undefined || !/^30[12378]$/.test(code)) return undefined
  const target = isBare ? '{request.path}' : '{request.target}'
  const whole =
    kind === 'prefix'
      ? `${to.replace(/\/$/, '')}${target}`
      : kind === 'scheme' && /^https?$/.test(text)
        ? `${text}://{request.host}${target}`
        : to
  if (kind !== 'prefix' && kind !== 'scheme' && (kind !== 'location' || isBare)) return undefined
  // Who chooses where others are sent must be seen in what is written.
  if (
    !/^(\/|https?:\/\/[^/{]+(\/|\{request\.(target|path)\}|$)|https?:\/\/\{request\.(host|hostname)\}(\/|\{request\.(target|path)\}|$)|\{request\.(path|target)\})/.test(
      whole,
    )
  )
    return undefined
  return /^[!-~]*$/.test(whole) ? [['redirect', `{ to: ${JSON.stringify(whole)}, status: ${code} }`]] : undefined
}
