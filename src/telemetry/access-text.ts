/**
 * Access, attempt and tunnel lines as JSON, one object per line. Written by hand because they are made once per call:
 * numbers and fixed words go in as they are, only what a client or a file wrote is quoted.
 */
import type { EpochMillis } from '../lib/units.ts'
import type { AccessLine, AttemptLine, TryLine, TunnelLine } from './telemetry.ts'

let lastAt = -1
let lastTime = ''

/** Many lines carry the same millisecond. */
function isoTime(at: EpochMillis): string {
  if (at !== lastAt) {
    lastAt = at
    lastTime = new Date(at).toISOString()
  }
  return lastTime
}

function optional(name: string, value: string | number | undefined): string {
  return value === undefined ? '' : `,"${name}":${typeof value === 'number' ? value : JSON.stringify(value)}`
}

function spent(name: string, ms: number | undefined): string {
  return optional(name, ms === undefined ? undefined : millis(ms))
}

function millis(ms: number): number {
  return Math.round(ms * 1000) / 1000
}

export function accessText(line: AccessLine): string {
  return (
    `{"time":"${isoTime(line.at)}","type":"access","peer":${JSON.stringify(line.peer)},"method":${JSON.stringify(line.method)}` +
    `,"path":${JSON.stringify(line.path)},"route":${JSON.stringify(line.route)},"mode":"${line.mode}","status":${line.status}` +
    `,"tookMs":${millis(line.tookMs)},"bytesIn":${line.bytesIn},"bytesOut":${line.bytesOut}` +
    `${optional('server', line.server)}${optional('job', line.job)}${optional('error', line.error)},"end":"${line.end}"` +
    `${optional('client', line.client)}${line.secure === true ? ',"secure":true' : ''}${optional('pool', line.pool)}${spent('waitMs', line.waitMs)}` +
    `${optional('requestId', line.requestId)}${optional('traceId', line.traceId)}${triesText(line.tries)}}`
  )
}

function triesText(tries: readonly TryLine[] | undefined): string {
  return tries === undefined || tries.length === 0 ? '' : `,"tries":[${tries.map(tryText).join(',')}]`
}

function tryText(each: TryLine): string {
  return (
    `{"server":${JSON.stringify(each.server)},"atMs":${millis(each.atMs)}${optional('why', each.why)},"outcome":${JSON.stringify(each.outcome)}` +
    `${optional('status', each.status)},"reused":${each.reused}${spent('connectMs', each.connectMs)}${spent('firstByteMs', each.firstByteMs)}` +
    `${spent('tookMs', each.tookMs)},"bytesUp":${each.bytesUp},"bytesDown":${each.bytesDown}}`
  )
}

export function attemptText(line: AttemptLine): string {
  return (
    `{"time":"${isoTime(line.at)}","type":"attempt","pool":${JSON.stringify(line.pool)},"server":${JSON.stringify(line.server)}` +
    `,"route":${JSON.stringify(line.route)}${optional('job', line.job)},"attempt":${line.attempt},"outcome":${JSON.stringify(line.outcome)}` +
    `${optional('status', line.status)},"tookMs":${millis(line.tookMs)}${optional('requestId', line.requestId)}${optional('traceId', line.traceId)}}`
  )
}

export function tunnelText(line: TunnelLine): string {
  return (
    `{"time":"${isoTime(line.at)}","type":"tunnel","peer":${JSON.stringify(line.peer)}${optional('client', line.client)}` +
    `,"path":${JSON.stringify(line.path)},"route":${JSON.stringify(line.route)},"pool":${JSON.stringify(line.pool)}` +
    `,"server":${JSON.stringify(line.server)},"tookMs":${millis(line.tookMs)},"bytesIn":${line.bytesIn},"bytesOut":${line.bytesOut}` +
    `,"why":"${line.why}"${optional('requestId', line.requestId)}${optional('traceId', line.traceId)}}`
  )
}
