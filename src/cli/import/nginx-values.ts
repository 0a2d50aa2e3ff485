/** Texts with variables of nginx, as templates; and the directives whose values they are: answers, redirects, header fields. */
import { isFieldText, wrongEditedName } from '../../core/actions/header-edits.ts'
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
}

/** Undefined: it names a variable that is not there. */
export function templateOf(text: string): string | undefined {
  let isKnown = true
  const template = text.replaceAll(/\$\{(\w+)\}|\$(\w+)|[{}]/g, (found, braced: string | undefined, plain: string | undefined) => {
    const name = braced ?? plain
    if (name === undefined) return found + found
    const variable = Object.hasOwn(VARIABLES, name) ? VARIABLES[name] : undefined
    isKnown &&= variable !== undefined
    return variable ?? ''
  })
  return isKnown && isFieldText(text) ? template : undefined
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

export interface Edits {
  readonly set: Map<string, string>
  readonly remove: string[]
}

/** Of `headers`; undefined: nothing is changed. */
export function editsText({ set, remove }: Edits): string | undefined {
  const parts: string[] = []
  if (set.size > 0)
    parts.push(`set: { ${[...set].map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(', ')} }`)
  if (remove.length > 0) parts.push(`remove: [${remove.map((name) => JSON.stringify(name)).join(', ')}]`)
  return parts.length === 0 ? undefined : `{ ${parts.join(', ')} }`
}

/** Undefined: it is in. Otherwise why it cannot be. */
export function edit(edits: Edits, side: 'request' | 'response', [name = '', value = '']: readonly string[]): string | undefined {
  const wrong = wrongEditedName(name, side)
  if (wrong !== undefined) return 'this field cannot be changed here'
  const template = templateOf(value)
  if (template === undefined) return 'a variable in it is not there'
  if (value === '') edits.remove.push(name)
  else edits.set.set(name, template)
  return undefined
}
