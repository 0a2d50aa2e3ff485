/** Runs wrk and says what it counted. A run in which anything but a 2xx or 3xx came back, or any call failed, is void. */
import { once } from 'node:events'
import path from 'node:path'
import { type Cores, findProgram, startPinned } from './machine.ts'

export interface Load {
  readonly core: Cores
  readonly connections: number
  readonly seconds: number
  readonly url: string
  readonly method: 'GET' | 'POST'
  readonly bodyBytes: number
}

export interface WrkResult {
  readonly requests: number
  readonly durationUs: number
  readonly bytes: number
  readonly connectErrors: number
  readonly readErrors: number
  readonly writeErrors: number
  /** Answers with a status above 399. */
  readonly statusErrors: number
  readonly timeouts: number
  readonly p50Us: number
  readonly p99Us: number
  readonly maxUs: number
}

export function isVoid(result: WrkResult): boolean {
  const { connectErrors, readErrors, writeErrors, statusErrors, timeouts } = result
  return result.requests === 0 || connectErrors + readErrors + writeErrors + statusErrors + timeouts > 0
}

export function perSecond(result: WrkResult): number {
  return (result.requests * 1e6) / result.durationUs
}

export async function runWrk(load: Load): Promise<WrkResult> {
  const script = path.join(import.meta.dirname, 'report.lua')
  const amount = ['-t1', `-c${load.connections}`, `-d${load.seconds}s`, '--timeout', '10s', '-s', script, load.url]
  const wrk = startPinned(load.core, findProgram('wrk') as string, [...amount, '--', load.method, String(load.bodyBytes)])
  await once(wrk.process, 'close')
  const found = /^WRK (\{.*\})$/m.exec(wrk.output())?.[1]
  if (found === undefined) throw new Error(`wrk said: ${wrk.output()}`)
  return JSON.parse(found) as WrkResult
}
