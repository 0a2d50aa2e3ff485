/** When nginx asks another server, as `retry` of a route. */
import type { Draft } from './draft.ts'
import { nearest, type Scope } from './nginx-scope.ts'

const NEXT_DEFAULT = ['error', 'timeout']
/** The same, as it is written here. */
export const RETRY_ON: readonly string[] = ['connect-failure', 'reset', 'timeout']
const ALL_METHODS = 'GET, HEAD, OPTIONS, PUT, DELETE, POST, PATCH'

export function nginxTries(scope: Scope, draft: Draft): [string, string][] {
  const [next] = nearest(scope, 'proxy_next_upstream')
  const [tries] = nearest(scope, 'proxy_next_upstream_tries')
  const [time] = nearest(scope, 'proxy_next_upstream_timeout')
  if (time !== undefined && time.args[0] !== '0')
    draft.left(time, 'how long tries may take is said of the call as a whole here: timeout of a route')
  if (next === undefined && tries === undefined) return []
  const reasons = next?.args ?? NEXT_DEFAULT
  if (reasons.includes('off')) return [['retry', 'off']]
  const on = retryOn(reasons.filter((reason) => reason !== 'non_idempotent'))
  if (next !== undefined && on === undefined) draft.left(next, 'not every reason to ask another server is one here; see retry')
  const attempts = /^[1-9]\d?$/.test(tries?.args[0] ?? '') ? `, attempts: ${tries?.args[0]}` : ''
  const methods = reasons.includes('non_idempotent') ? `, methods: [${ALL_METHODS}]` : ''
  return [['retry', `{ on: [${(on ?? RETRY_ON).join(', ')}]${attempts}${methods} }`]]
}

/** Undefined: there is one that is not known here. */
function retryOn(reasons: readonly string[]): readonly string[] | undefined {
  const on: string[] = []
  for (const reason of reasons) {
    const status = /^http_([45]\d\d)$/.exec(reason)?.[1]
    if (reason === 'error') on.push('connect-failure', 'reset')
    else if (reason === 'invalid_header') on.push('reset')
    else if (reason === 'timeout') on.push('timeout')
    else if (status !== undefined) on.push(status)
    else return undefined
  }
  return [...new Set(on)]
}
