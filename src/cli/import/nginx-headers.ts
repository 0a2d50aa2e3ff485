/** Header fields that nginx changes, as `headers` of a route. */
import type { Draft } from './draft.ts'
import { Edits } from './edits.ts'
import type { Directive } from './nginx-parse.ts'
import { nearest, type Scope } from './nginx-scope.ts'
import { templateOf } from './nginx-values.ts'
import { needlessHeader } from './nginx-words.ts'

export function requestEdits(scope: Scope, draft: Draft): Edits {
  const edits = new Edits('request')
  const given = new Set<string>()
  for (const directive of nearest(scope, 'proxy_set_header')) {
    const [name = '', value = ''] = directive.args
    const field = name.toLowerCase()
    if (value === '$request_id' && edits.wrongName(name) === undefined) {
      draft.set({
        path: ['requestId'],
        value: `{ header: ${JSON.stringify(name)}, accept: nobody }`,
        source: directive,
        remark: 'clients get it, too',
      })
      continue
    }
    const needless = needlessHeader(directive.args)
    if (needless !== undefined) draft.needless(directive, needless)
    if (needless !== undefined || field === 'host') continue
    const template = templateOf(value)
    const wrong = edits.wrongName(name) ?? wrongValue(template, value)
    if (wrong !== undefined || template === undefined) draft.left(directive, wrong ?? '')
    else if (value === '') edits.remove(name)
    // Two lines of one name are two fields there.
    else if (given.has(field)) edits.add(name, template)
    else edits.set(name, template)
    given.add(field)
  }
  return edits
}

/** Set there, whatever a server says; others come beside what it says. */
const REPLACED = new Set(['etag', 'last-modified'])
/** Stay on errors as they are: see `headers`. */
const OF_CACHES = new Set(['cache-control', 'expires'])

export function responseEdits(scope: Scope, draft: Draft): Edits {
  const edits = new Edits('response')
  for (const directive of nearest(scope, 'proxy_hide_header')) {
    const [name = ''] = directive.args
    const wrong = edits.wrongName(name)
    if (wrong === undefined) edits.remove(name)
    else draft.left(directive, wrong)
  }
  for (const directive of nearest(scope, 'add_header')) addHeader(directive, edits, draft)
  return edits
}

function addHeader(directive: Directive, edits: Edits, draft: Draft): void {
  const [name = '', value = '', always] = directive.args
  const field = name.toLowerCase()
  const template = templateOf(value)
  const wrong = edits.wrongName(name) ?? wrongValue(template, value)
  if (wrong !== undefined || template === undefined) return draft.left(directive, wrong ?? '')
  if (value === '' && !REPLACED.has(field)) return draft.needless(directive, 'an empty field is not added')
  if (value === '') edits.remove(name)
  else if (REPLACED.has(field)) edits.set(name, template)
  else edits.add(name, template)
  const isOfCaches = OF_CACHES.has(field)
  if (isOfCaches && always === 'always') draft.left(directive, 'on errors it stays as it is here')
  else if (!isOfCaches && always !== 'always') draft.left(directive, 'here answers that are errors get it, too')
}

function wrongValue(template: string | undefined, value: string): string | undefined {
  if (template !== undefined) return undefined
  if (/\$ssl_client_/.test(value)) return 'servers get the certificate of a client as Client-Cert (RFC 9440) here'
  return value.includes('$') ? 'a variable in it is not there' : 'not every octet of it can stand in a configuration'
}
