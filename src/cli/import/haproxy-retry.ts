/** When HAProxy asks again, as `retry`: without a word after a connection that could not be made, three times. */
import type { Draft } from './draft.ts'
import type { Statement } from './haproxy-parse.ts'

export const RETRY_DEFAULT = '{ on: [connect-failure], attempts: 4 }'

const REASONS: Readonly<Record<string, readonly string[]>> = {
  'conn-failure': ['connect-failure'],
  'empty-response': ['reset'],
  'junk-response': ['reset'],
  'response-timeout': ['timeout'],
  // There is no 0-RTT here.
  '0rtt-rejected': [],
  'all-retryable-errors': ['connect-failure', 'reset', 'timeout', '500', '502', '503', '504'],
}

/** Of a section. */
export function haproxyRetry(lines: readonly Statement[], draft: Draft): string {
  const count = lines.findLast(({ words }) => words[0] === 'retries')
  const on = lines.findLast(({ words }) => words[0] === 'retry-on')
  const retries = Number(count?.words[1] ?? 3)
  if (count !== undefined && (!/^\d{1,3}$/.test(count.words[1] ?? '') || retries > 99)) draft.left(count, 'not possible here')
  const known = Number.isSafeInteger(retries) && retries <= 99 ? retries : 3
  const said = on?.words.slice(1) ?? ['conn-failure']
  if (known === 0 || said.includes('none')) return 'off'
  const reasons = said.flatMap((word) =>
    Object.hasOwn(REASONS, word) ? (REASONS[word] ?? []) : /^[45]\d\d$/.test(word) ? [word] : undefined,
  )
  if (on !== undefined && reasons.includes(undefined)) draft.left(on, 'not every reason to ask again is one here; see retry')
  const all = [...new Set(reasons.filter((reason) => reason !== undefined))]
  const methods = all.some((reason) => reason !== 'connect-failure') ? `, methods: [${methodsOf(lines, draft).join(', ')}]` : ''
  return all.length === 0 ? 'off' : `{ on: [${all.join(', ')}], attempts: ${known + 1}${methods} }`
}

const IDEMPOTENT = ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']

/** All, unless somebody has thought of POST. */
function methodsOf(lines: readonly Statement[], draft: Draft): readonly string[] {
  const limits = lines.filter(({ words }) => words[0] === 'http-request' && words[1] === 'disable-l7-retry')
  for (const line of limits) {
    const condition = line.words.slice(2).join(' ')
    if (condition === 'if METH_POST') continue
    if (condition !== 'unless METH_GET') draft.left(line, 'what is not repeated is said by methods here: only what is idempotent is')
    return condition === 'unless METH_GET' ? ['GET', 'HEAD'] : IDEMPOTENT
  }
  return limits.length > 0 ? [...IDEMPOTENT, 'PATCH'] : [...IDEMPOTENT, 'POST', 'PATCH']
}
