/**
 * Access, attempt and tunnel lines for people: one line each, what everybody asks first in front (when, who, what, how it ended), then what only
 * some lines have, by name. What a client wrote is quoted where it is more than a word, so that no line can pretend to be two, or another one.
 */
import type { EpochMillis } from '../lib/units.ts'
import { spanText } from './event-text.ts'
import type { AccessLine, AttemptLine, TryLine, TunnelLine } from './telemetry.ts'

/** Letters, digits and what stands in paths and addresses. */
const WORD = /^[!#-~]+$/

export function accessPlain(line: AccessLine): string {
  const { method, path, route, mode, server, pool, job, error, client, waitMs, requestId, traceId, tries = [] } = line
  const asked = method === '' ? '-' : `${word(method)} ${word(path)}`
  const way = route === '' ? '' : ` route ${word(route)} ${mode}`
  return (
    `${time(line.at)} ${word(line.peer)} ${asked} ${line.status} ${line.end} ${span(line.tookMs)} in ${line.bytesIn} out ${line.bytesOut}${way}` +
    named({ pool, server, client, job, error }) +
    (waitMs === undefined ? '' : ` waited ${span(waitMs)}`) +
    (tries.length < 2 ? '' : ` tries ${tries.map(tryPlain).join(', ')}`) +
    (line.secure === true ? ' tls' : '') +
    named({ id: requestId, trace: traceId })
  )
}

export function attemptPlain(line: AttemptLine): string {
  const { pool, server, route, job, attempt, outcome, status, requestId, traceId } = line
  const answer = status === undefined ? '' : ` ${status}`
  return (
    `${time(line.at)} attempt ${attempt} ${word(outcome)}${answer} ${span(line.tookMs)} route ${word(route)}` +
    named({ pool, server, job, id: requestId, trace: traceId })
  )
}

export function tunnelPlain(line: TunnelLine): string {
  const { peer, path, why, route, pool, server, client, requestId, traceId } = line
  return (
    `${time(line.at)} ${word(peer)} tunnel ${word(path)} over (${why}) ${span(line.tookMs)} in ${line.bytesIn} out ${line.bytesOut} route ${word(route)}` +
    named({ pool, server, client, id: requestId, trace: traceId })
  )
}

function tryPlain({ server, outcome, status, tookMs }: TryLine): string {
  const took = tookMs === undefined ? '' : ` ${span(tookMs)}`
  return `${word(server)} ${status ?? word(outcome)}${took}`
}

function named(values: Readonly<Record<string, string | undefined>>): string {
  return Object.entries(values)
    .map(([name, value]) => (value === undefined || value === '' ? '' : ` ${name} ${word(value)}`))
    .join('')
}

function word(text: string): string {
  return WORD.test(text) ? text : JSON.stringify(text)
}

/** Below a second more exactly than events: here the parts of a millisecond count. */
function span(ms: number): string {
  return ms < 1000 ? `${Math.round(ms * 10) / 10}ms` : spanText(ms).replace(' ', '')
}

function time(at: EpochMillis): string {
  return new Date(at).toISOString()
}
