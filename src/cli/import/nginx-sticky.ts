/** `sticky` of nginx's upstreams (NGINX Plus, and nginx from 1.29 on), as `sticky` of a pool. */
import { type Draft, durationText } from './draft.ts'
import type { Directive } from './nginx-parse.ts'
import { nginxTime } from './nginx-words.ts'
import { quoted } from './write-draft.ts'

const COOKIE = /^[A-Za-z0-9_.-]{1,60}$/

/** Undefined: it is left. */
export function nginxSticky(directive: Directive, draft: Draft): string | undefined {
  const [kind, ...args] = directive.args
  if (kind === 'cookie') return ownCookie(directive, args, draft)
  if (kind === 'learn') {
    const value = (name: string): string | undefined => args.find((arg) => arg.startsWith(`${name}=`))?.slice(name.length + 1)
    const name = /^\$cookie_(\w+)$/.exec(value('lookup') ?? '')?.[1]
    const ttl = durationText(nginxTime(value('timeout') ?? '10m') ?? 0)
    if (name !== undefined && value('create') === `$upstream_cookie_${name}` && ttl !== undefined)
      return `{ appCookie: { name: ${quoted(name)}, ttl: ${ttl} } }`
    draft.left(directive, 'sessions are learnt from one cookie of the application here; see sticky.appCookie')
    return undefined
  }
  draft.left(directive, 'a client is bound by a cookie here, or by what balance hashes')
  return undefined
}

function ownCookie(directive: Directive, [name = '', ...options]: readonly string[], draft: Draft): string | undefined {
  const left = (reason: string): undefined => {
    draft.left(directive, reason)
    return undefined
  }
  if (!COOKIE.test(name)) return left('such a name of a cookie is not possible here')
  const pairs = [`name: ${quoted(name)}`]
  for (const option of options) {
    const [key = ''] = option.toLowerCase().split('=')
    const value = option.slice(option.indexOf('=') + 1)
    const ttl = value === 'max' ? '3650d' : durationText(nginxTime(value) ?? 0)
    const sameSite = /^(strict|lax|none)$/i.exec(value)?.[0]
    if (key === 'expires' && ttl !== undefined) pairs.push(`ttl: ${ttl}`)
    else if (key === 'path' && /^\/[!-:<-~]*$/.test(value)) pairs.push(`path: ${JSON.stringify(value)}`)
    else if (key === 'secure') pairs.push('secure: true')
    else if (key === 'samesite' && sameSite !== undefined)
      pairs.push(`sameSite: ${sameSite[0]?.toUpperCase()}${sameSite.slice(1).toLowerCase()}`)
    else if (key !== 'httponly') draft.left(directive, `${option} of a cookie is not possible here`)
  }
  const isSecure = pairs.includes('secure: true')
  if (pairs.includes('sameSite: None') && !isSecure) return left('samesite=none without secure is refused by browsers')
  draft.set({
    path: ['sticky', 'keys'],
    value: STICKY_KEYS,
    source: directive,
    remark: STICKY_REMARK,
  })
  return `{ cookie: { ${pairs.join(', ')} } }`
}

export const STICKY_KEYS = '[{ id: first, secret: "${STICKY_KEY}" }]'
export const STICKY_REMARK = 'made by: openssl rand -base64 32'
