/**
 * URLs that webhooks go to: what an endpoint's may look like, with parameters such as `{queue}`, and the patterns that a client's
 * `Spillway-Callback` has to match. Compared as URLs are parsed (WHATWG), never as text.
 */

/** What may stand in braces in the path or the query of an endpoint's URL. */
export const URL_PARAMETERS = ['id', 'type', 'queue', 'status', 'reference'] as const
export const CALLBACK_LENGTH_MAX = 2048

export interface UrlPattern {
  readonly text: string
  readonly protocol: string
  /** `*.example.com`: one or more labels before it; `*`: any. */
  readonly host: string
  /** Empty: the one of the protocol. */
  readonly port: string
  readonly path: string
  /** Whatever begins so, with any query. */
  readonly open: boolean
}

const PATTERN = /^(https?):\/\/(\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[\da-f:.]+\])(?::(\d{1,5}))?(\/[^?#\s{}]*)?$/i

/** The pattern, or what is wrong with the text. */
export function parseUrlPattern(text: string): UrlPattern | string {
  const match = PATTERN.exec(text)
  if (match === null) return 'is no URL pattern; write it as in https://*.example.com/hooks/*'
  const [, scheme = '', host = '', port = '', path] = match
  if (path === undefined) return 'has no path; write /* at its end for any'
  const open = path.endsWith('*')
  const fixed = open ? path.slice(0, -1) : path
  if (fixed.includes('*')) return 'may have * only at the end of its path, and at the beginning of its host'
  const protocol = `${scheme.toLowerCase()}:`
  // As URLs are parsed: the protocol's own port is none, and the path is normalised.
  const [star, ending] = host === '*' ? ['*', ''] : host.startsWith('*.') ? ['*.', host.slice(2)] : ['', host]
  const url = `${protocol}//${ending === '' ? 'x' : ending}${port === '' ? '' : `:${port}`}${fixed}`
  if (!URL.canParse(url)) return 'has a host or a port that cannot be'
  const parsed = new URL(url)
  return { text, protocol, host: star + (ending === '' ? '' : parsed.hostname), port: parsed.port, path: parsed.pathname, open }
}

export function matchesUrl(pattern: UrlPattern, url: URL): boolean {
  if (url.protocol !== pattern.protocol || url.port !== pattern.port) return false
  const { host, path, open } = pattern
  const named = url.hostname.replace(/\.$/, '')
  const isHost = host === '*' || (host.startsWith('*.') ? named.endsWith(host.slice(1)) && named.length >= host.length : named === host)
  return isHost && (open ? url.pathname.startsWith(path) : url.pathname === path && url.search === '')
}

/** A URL that a webhook can be sent to, or what is wrong with it. Nothing else is known of it yet. */
export function readHttpUrl(text: string): URL | string {
  if (text.length > CALLBACK_LENGTH_MAX) return `has more than ${CALLBACK_LENGTH_MAX} characters`
  // What parsing would take out or turn into something else: behind more slashes, for one, the path would begin with the host.
  if (!/^https?:\/\/(?!\/)[!-~]+$/i.test(text) || text.includes('\\')) return 'is no http or https URL in printable ASCII'
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined) return 'is no URL'
  if (url.username !== '' || url.password !== '') return 'must not hold a user name or a password'
  if (url.hash !== '' || text.includes('#')) return 'must not have a fragment'
  return url
}

/** What is wrong with what a client calls its callback; undefined: nothing. */
export function wrongCallback(text: string, allowed: readonly UrlPattern[]): string | undefined {
  const url = readHttpUrl(text)
  if (typeof url === 'string') return url
  if (allowed.some((pattern) => matchesUrl(pattern, url))) return undefined
  return `${text.slice(0, 200)} matches none of the URLs that are allowed (webhooks.callbacks.urls)`
}

/** What is wrong with the URL of an endpoint; undefined: nothing. */
export function wrongEndpointUrl(text: string): string | undefined {
  const authority = /^[a-z]+:\/\/([^/?#]*)/i.exec(text)?.[1] ?? ''
  if (/[{}]/.test(authority)) return 'may have parameters only in its path and its query'
  for (const [, name = ''] of text.matchAll(/\{([^{}]*)\}/g)) {
    if (!(URL_PARAMETERS as readonly string[]).includes(name)) return `has no parameter {${name}}; there are ${URL_PARAMETERS.join(', ')}`
  }
  const url = readHttpUrl(text.replaceAll(/\{[^{}]*\}/g, 'x'))
  return typeof url === 'string' ? url : undefined
}

export function hasParameters(url: string): boolean {
  return url.includes('{')
}

/** The URL with its parameters filled in; what there is no value for stands as `-`. */
export function expandUrl(url: string, values: Readonly<Record<string, unknown>>): string {
  return url.replaceAll(/\{([^{}]*)\}/g, (_, name: string) => {
    const value = Object.hasOwn(values, name) ? values[name] : undefined
    if (typeof value !== 'string' || value === '') return '-'
    // A segment of dots would lead out of the path, however it is encoded.
    return /^\.+$/.test(value) ? value.replaceAll('.', '_') : encodeURIComponent(value.toWellFormed())
  })
}
