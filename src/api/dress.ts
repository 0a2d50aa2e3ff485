/** What is changed of the heads of answers on their way to the client, whoever made them: a route's header edits, the request's id, times. */
import type { RouteActions } from '../core/actions/actions.ts'
import { editedFields, editsFor, type HeaderEdits, withoutLines } from '../core/actions/header-edits.ts'
import type { Config } from '../config/config.ts'
import { hostName } from '../core/routing/router.ts'
import type { RequestHead } from '../http1/message.ts'
import { fieldLines } from '../http1/write.ts'
import type { AnswerEditor, Call } from '../net/call.ts'
import type { Clients } from './clients.ts'

export type ValueOf = (name: string) => string

/** Whose variables are asked for. */
export interface NamedCall extends Pick<Call, 'log' | 'peer'> {
  readonly head: Pick<RequestHead, 'method' | 'host' | 'path' | 'query' | 'target' | 'headers'>
}

/** The variables that every call has. `parameter`: of its route. */
export function variablesOfCall(
  call: NamedCall,
  { clients, scheme, parameter }: { readonly clients: Pick<Clients, 'addressOf'>; readonly scheme: string; readonly parameter?: ValueOf },
): ValueOf {
  const { head, log } = call
  return (name) => {
    switch (name) {
      case 'client.address':
        return clients.addressOf(call)
      case 'request.method':
        return head.method
      case 'request.scheme':
        return scheme
      case 'request.host':
        return head.host
      case 'request.hostname':
        return hostName(head.host)
      case 'request.path':
        return head.path
      case 'request.query':
        return head.query
      case 'request.target':
        return head.target
      case 'request.id':
        return log.requestId ?? ''
      case 'trace.id':
        return log.traceId ?? ''
      case 'server.name':
        return log.server ?? ''
      default:
        return parameter?.(name) ?? ''
    }
  }
}

/** After whatever is changed of it already. */
export function editAnswers(call: Call, edit: AnswerEditor): void {
  const before = call.editAnswer
  call.editAnswer = before === undefined ? edit : (lines, status) => edit(before(lines, status), status)
}

export function editedLines(lines: string, edits: HeaderEdits, valueOf: ValueOf): string {
  return withoutLines(lines, edits.drop) + fieldLines(editedFields(edits, valueOf))
}

export function dressAnswers(call: Call, { response, serverTiming }: RouteActions, valueOf: ValueOf): void {
  if (response !== undefined) call.dropped = response.drop
  if (response !== undefined)
    editAnswers(call, (lines, status) => editedLines(lines, editsFor(response, { status, isPrivate: isPrivate(lines) }), valueOf))
  if (serverTiming === true) editAnswers(call, (lines) => lines + serverTimingLine(call))
}

/** What stands in `PRIVATE_HEADERS`: no server's answer says both. */
function isPrivate(lines: string): boolean {
  return lines.includes('Cache-Control: private, no-store\r\nReferrer-Policy: no-referrer\r\n')
}

/** As of the head: Server-Timing (W3C), in milliseconds. */
function serverTimingLine({ log: { trace } }: Call): string {
  const last = trace?.last
  if (trace === undefined || last?.firstByteMs === undefined) return ''
  const told = [`wait;dur=${trace.waitMs.toFixed(1)}`]
  if (last.connectMs !== undefined) told.push(`connect;dur=${last.connectMs.toFixed(1)}`)
  told.push(`ttfb;dur=${last.firstByteMs.toFixed(1)}`)
  return `Server-Timing: ${told.join(', ')}\r\n`
}

/** The result of a job, asked for at its address: as its route would have answered. There the path has no parameters. */
export function dressResult(
  call: Call,
  route: string,
  parts: { readonly config: Config; readonly clients: Pick<Clients, 'addressOf'> },
): void {
  const response = parts.config.routes.find(({ name }) => name === route)?.actions?.response
  if (response !== undefined)
    dressAnswers(
      call,
      { response },
      variablesOfCall(call, { clients: parts.clients, scheme: call.peer.secure === true ? 'https' : 'http' }),
    )
}
