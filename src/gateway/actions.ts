/** What is done to a call beside choosing where it goes: its id and trace, its target and header fields, answers of the route's own. */
import { corsHeaders } from '../api/cors.ts'
import { dressAnswers, editAnswers, type NamedCall, type ValueOf, variablesOfCall } from '../api/dress.ts'
import { sendFailure } from '../api/problem.ts'
import type { RequestIdConfig, TracingConfig } from '../config/config.ts'
import type { FixedAnswer, Redirect } from '../core/actions/actions.ts'
import { editedFields, withoutFields, withoutLines } from '../core/actions/header-edits.ts'
import { locationOf, parameterOf, rewriteTarget } from '../core/actions/rewrite.ts'
import { acceptableRequestId, newRequestId } from '../core/headers/request-id.ts'
import { newTrace, parseTraceparent, traceparentText } from '../core/headers/trace-context.ts'
import type { RouteMatch } from '../core/routing/router.ts'
import type { FlatHeaders } from '../http1/message.ts'
import { headerValues } from '../http1/message.ts'
import { fieldLines } from '../http1/write.ts'
import type { FieldEdits } from '../net/call.ts'
import type { RefusalMark } from '../net/downstream-connection.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import { CallTrace } from '../telemetry/call-trace.ts'
import type { LiveContext } from './context.ts'
import { hopOf, requestFields } from './request-fields.ts'

/** A call, or a request of a batch as if it were one. */
export type ActedOn = NamedCall & Pick<DownstreamCall, 'marks'>

const REQUEST_ID_BYTES = 16
const TRACE_BYTES = 24
const SPAN_BYTES = 8

/** Its id and its trace, where the configuration wants them: first of all, so that whatever becomes of it has them. */
export function markCall(call: DownstreamCall, context: LiveContext): void {
  const { requestId, tracing } = context.config
  if (requestId !== undefined) markId(call, requestId, context)
  if (tracing !== undefined) markTrace(call, tracing, context)
}

function markId(call: DownstreamCall, { header, accept }: RequestIdConfig, { random }: LiveContext): void {
  const believed = accept === 'anyone' || (accept === 'trusted' && call.peer.trusted)
  const came = believed ? acceptableRequestId(headerValues(call.head.headers, header)) : undefined
  const id = came ?? newRequestId(random.bytes(REQUEST_ID_BYTES))
  call.log.requestId = id
  const name = canonicalName(header)
  addMark(call, [header], [name, id])
  const drop = new Set([header])
  editAnswers(call, (lines) => `${withoutLines(lines, drop)}${name}: ${id}\r\n`)
}

/** Of a request of which nobody knows what it brought. Undefined: requests have no ids. */
export function newMark({ config: { requestId }, random }: LiveContext): RefusalMark | undefined {
  return requestId === undefined ? undefined : { name: canonicalName(requestId.header), id: newRequestId(random.bytes(REQUEST_ID_BYTES)) }
}

function markTrace(call: DownstreamCall, { start, accept }: TracingConfig, { random }: LiveContext): void {
  const believed = accept === 'anyone' || call.peer.trusted
  const came = believed && call.head.traceparent !== '' ? parseTraceparent(call.head.traceparent) : undefined
  if (came === undefined && !start) return believed ? undefined : addMark(call, TRACE_FIELDS, [])
  const trace = came === undefined ? newTrace(random.bytes(TRACE_BYTES)) : { ...came, parentId: random.bytes(SPAN_BYTES).toString('hex') }
  call.log.traceId = trace.traceId
  // What others say about their trace stays as long as it is theirs.
  addMark(call, came === undefined ? TRACE_FIELDS : ['traceparent'], ['traceparent', traceparentText(trace)])
}

const TRACE_FIELDS: readonly string[] = ['traceparent', 'tracestate']

/** For servers: these fields instead of what came. */
export function addMark(call: DownstreamCall, drop: readonly string[], fields: readonly string[]): void {
  const { marks } = call
  call.marks = { drop: new Set([...(marks?.drop ?? []), ...drop]), fields: [...(marks?.fields ?? []), ...fields] }
}

/** `x-request-id` is written `X-Request-Id`. */
function canonicalName(lower: string): string {
  return lower.replaceAll(/(^|-)([a-z])/g, (_, before: string, letter: string) => before + letter.toUpperCase())
}

/** What the route does to every call. */
export function dressCall(call: DownstreamCall, match: RouteMatch, context: LiveContext): void {
  const { actions } = match.route
  if (actions === undefined) return
  if (actions.serverTiming === true) call.log.trace ??= new CallTrace(context.clock, call.receivedAt)
  dressAnswers(call, actions, valuesOf(call, match, context))
}

/** The match to go on with; undefined: the call has been answered. */
export function actOn(call: DownstreamCall, match: RouteMatch, context: LiveContext): RouteMatch | undefined {
  const { actions } = match.route
  if (actions?.respond !== undefined) {
    respond(call, actions.respond, match, context)
    return undefined
  }
  const rewritten = rewrittenTarget(call.head, match)
  if (typeof rewritten !== 'object') return rewritten === undefined ? match : { ...match, target: rewritten }
  sendFailure(call, rewritten, corsHeaders(match.route.cors, call))
  return undefined
}

/** Undefined: servers are asked for what the client asked for. */
export function rewrittenTarget(
  head: { readonly target: string; readonly path: string },
  { route, params, pattern }: RouteMatch,
): ReturnType<typeof rewriteTarget> {
  const rewrite = route.actions?.rewrite
  return rewrite === undefined ? undefined : rewriteTarget(rewrite, { target: head.target, path: head.path, params, pattern })
}

function respond(call: DownstreamCall, with_: Redirect | FixedAnswer, match: RouteMatch, context: LiveContext): void {
  const cors = corsHeaders(match.route.cors, call)
  call.log.by = with_.kind
  if (with_.kind === 'answer') return call.send(with_.status, [...with_.headers, ...cors], with_.body)
  call.send(with_.status, ['Location', locationOf(with_, valuesOf(call, match, context)), ...cors], '')
}

function valuesOf(call: ActedOn, { params, pattern }: RouteMatch, context: LiveContext): ValueOf {
  const scheme = hopOf(call, context).proto
  const { path } = call.head
  return variablesOfCall(call, { clients: context.clients, scheme, parameter: (name) => parameterOf(name, { params, path, pattern }) })
}

/** Undefined, as for most: the server gets what came. */
export function requestEdits(call: ActedOn, match: RouteMatch, context: LiveContext): FieldEdits | undefined {
  const { actions } = match.route
  const { marks } = call
  if (actions?.request === undefined && actions?.rewrite?.host === undefined) return marks
  const drop = new Set(marks?.drop)
  const fields = [...(marks?.fields ?? [])]
  if (actions.rewrite?.host !== undefined) {
    drop.add('host')
    fields.push('Host', actions.rewrite.host)
  }
  if (actions.request === undefined) return { drop, fields }
  for (const name of actions.request.drop) drop.add(name)
  const kept = withoutFields(fields, actions.request.drop)
  return { drop, fields: [...kept, ...editedFields(actions.request, valuesOf(call, match, context))] }
}

/** Of headers for a server. */
export function editedHeaders(headers: FlatHeaders, edits: FieldEdits | undefined): readonly string[] {
  return edits === undefined ? headers : [...withoutFields(headers, edits.drop), ...edits.fields]
}

export interface ServerFields {
  readonly lines: string
  /** Lower-case names that only the gateway says: they are not let in by trailers. */
  readonly only: ReadonlySet<string> | undefined
}

/** What the server of a direct call gets. */
export function serverFields(call: DownstreamCall, match: RouteMatch, context: LiveContext): ServerFields {
  const lines = requestFields(call.head, call.peer, hopOf(call, context))
  const edits = requestEdits(call, match, context)
  if (edits === undefined) return { lines, only: undefined }
  return { lines: withoutLines(lines, edits.drop) + fieldLines(edits.fields), only: edits.drop }
}
