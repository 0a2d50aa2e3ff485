/** Texts with variables of nginx, as templates; and answers and redirects whose values they are. */
import { isPlainValue } from './edits.ts'
import type { DraftRoute } from './draft.ts'
import type { Directive } from './nginx-parse.ts'

const VARIABLES: Readonly<Record<string, string>> = {
  remote_addr: '{client.address}',
  host: '{request.hostname}',
  http_host: '{request.host}',
  scheme: '{request.scheme}',
  request_uri: '{request.target}',
  uri: '{request.path}',
  document_uri: '{request.path}',
  args: '{request.query}',
  query_string: '{request.query}',
  request_method: '{request.method}',
  // Where the PROXY protocol is spoken; elsewhere there is none.
  proxy_protocol_addr: '{client.address}',
}

/** Undefined: it names a variable that is not there. */
export function templateOf(text: string): string | undefined {
  let isKnown = true
  const template = text
    .replaceAll('$uri$is_args$args', '$request_uri')
    .replaceAll(/\$\{(\w+)\}|\$(\w+)|[{}]/g, (found, braced: string | undefined, plain: string | undefined) => {
      const name = braced ?? plain
      if (name === undefined) return found + found
      const variable = Object.hasOwn(VARIABLES, name) ? VARIABLES[name] : undefined
      isKnown &&= variable !== undefined
      return variable ?? ''
    })
  return isKnown && isPlainValue(text) ? template : undefined
}

const REDIRECTS = new Set(['301', '302', '303', '307', '308'])

/** Of `return`; undefined: it cannot be said. */
export function returned({ args }: Directive): DraftRoute['keys'] | undefined {
  const [first = '', second] = args
  const isUrl = !/^\d+$/.test(first)
  const [status, text] = isUrl ? ['302', first] : [first, second]
  if (args.length > 2 || (isUrl && args.length > 1)) return undefined
  if (REDIRECTS.has(status)) {
    const to = text === undefined ? undefined : templateOf(text)
    if (to === undefined || !/^(\/|https?:\/\/)/.test(to.replace('{request.scheme}', 'http')) || to.startsWith('{')) return undefined
    return [['redirect', `{ to: ${JSON.stringify(to)}, status: ${status} }`]]
  }
  // 444 closes the connection, and 1xx is no answer.
  if (!/^[2-5]\d\d$/.test(status) || status === '444' || (text !== undefined && /\$/.test(text))) return undefined
  return answered(Number(status), text)
}

export function answered(status: number, body: string | undefined): DraftRoute['keys'] {
  return [['answer', `{ status: ${status}${body === undefined || body === '' ? '' : `, body: ${JSON.stringify(body)}`} }`]]
}
