/** For `spillway explain`: what a route does to a request beside choosing where it goes, with what is known of the request filled in. */
import type { RouteConfig } from '../config/config.ts'
import { editedFields, type HeaderEdits } from '../core/actions/header-edits.ts'
import { locationOf, parameterOf, rewriteTarget } from '../core/actions/rewrite.ts'
import { hostName, type RouteMatch, type RoutableHead } from '../core/routing/router.ts'

export interface ExplainedActions {
  readonly target?: string
  readonly host?: string
  readonly redirect?: { readonly status: number; readonly location: string }
  readonly answer?: { readonly status: number; readonly bytes: number }
  /** As it would be answered instead. */
  readonly refused?: string
  readonly requestHeaders?: ExplainedEdits
  readonly responseHeaders?: ExplainedEdits
}

export interface ExplainedEdits {
  readonly removed: readonly string[]
  /** `Name: value`. */
  readonly added: readonly string[]
}

/** Values of these open something: who reads what is explained need not see them. */
const SENSITIVE = /token|secret|passw|credential|authorization|cookie|signature|api[-_]?key/i

export function explainActions({ route, params, pattern }: RouteMatch, head: RoutableHead): ExplainedActions {
  const { rewrite, respond, request, response } = (route as RouteConfig).actions ?? {}
  const target = head.query === '' ? head.path : `${head.path}?${head.query}`
  const valueOf = valuesOf(head, target, (name) => parameterOf(name, { params, path: head.path, pattern }))
  const rewritten = rewrite && rewriteTarget(rewrite, { target, path: head.path, params, pattern })
  return {
    ...(typeof rewritten === 'string' && { target: rewritten }),
    ...(typeof rewritten === 'object' && { refused: `400: ${rewritten.detail}` }),
    ...(rewrite?.host !== undefined && { host: rewrite.host }),
    ...(respond?.kind === 'redirect' && { redirect: { status: respond.status, location: locationOf(respond, valueOf) } }),
    ...(respond?.kind === 'answer' && { answer: { status: respond.status, bytes: Buffer.byteLength(respond.body) } }),
    ...(request && { requestHeaders: explainEdits(request, valueOf) }),
    ...(response && { responseHeaders: explainEdits(response, valueOf) }),
  }
}

/** What only a real call has stays a variable. */
function valuesOf(head: RoutableHead, target: string, parameter: (name: string) => string): (name: string) => string {
  const known: Readonly<Record<string, string>> = {
    'request.method': head.method,
    'request.host': head.host,
    'request.hostname': hostName(head.host),
    'request.path': head.path,
    'request.query': head.query,
    'request.target': target,
  }
  return (name) => known[name] ?? (name.includes('.') ? `{${name}}` : parameter(name))
}

function explainEdits(edits: HeaderEdits, valueOf: (name: string) => string): ExplainedEdits {
  const fields = editedFields(edits, valueOf)
  const added = fields.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${SENSITIVE.test(name) ? '***' : fields[i + 1]}`] : []))
  const set = new Set(fields.flatMap((name, i) => (i % 2 === 0 ? [name.toLowerCase()] : [])))
  return { removed: [...edits.drop].filter((name) => !set.has(name)), added }
}

/** A line each. */
export function actionLines(explained: ExplainedActions): readonly string[] {
  const { target, host, redirect, answer, refused, requestHeaders, responseHeaders } = explained
  const lines: string[] = []
  if (refused !== undefined) lines.push(`refused with ${refused}`)
  if (redirect !== undefined) lines.push(`redirected with ${redirect.status} to ${redirect.location}`)
  if (answer !== undefined) lines.push(`answered with ${answer.status} and ${answer.bytes} bytes`)
  if (target !== undefined) lines.push(`servers are asked for ${target}`)
  if (host !== undefined) lines.push(`servers get Host: ${host}`)
  for (const [who, edits] of [['servers get', requestHeaders] as const, ['clients get', responseHeaders] as const]) {
    for (const line of edits?.added ?? []) lines.push(`${who} ${line}`)
    for (const name of edits?.removed ?? []) lines.push(`${who} no ${name}`)
  }
  return lines
}
