/** One health check: a TCP connect, or a GET whose answer must be 2xx or 3xx. A connection of its own each time: that is what is tested. */
import { ownShortage, type ProbeResult } from '../core/health/health.ts'
import { tlsFailure } from '../core/tls/tls-failure.ts'
import { parseResponseHead } from '../http1/parse-response.ts'
import type { Millis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { Network } from '../ports/network.ts'
import type { Opening } from './dialling.ts'

export interface ProbeTarget {
  readonly host: string
  readonly port: number
  /** Of which the host is an address. */
  readonly hostName?: string
  /** Absent: TCP only. */
  readonly path?: string
  readonly timeoutMs: Millis
  /** As requests begin there. */
  readonly opening?: Opening | undefined
}

const ANSWER_BYTES_MAX = 64 * 1024

export interface ProbePorts {
  readonly clock: Clock
  readonly network: Network
}

export function probe(target: ProbeTarget, { clock, network }: ProbePorts): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const { host, port, opening } = target
    const { tls, preamble } = opening ?? {}
    const socket = network.connect({ host, port, noDelay: true, ...(tls && { tls }), ...(preamble && { preamble }) })
    opening?.opened(socket)
    let answer = ''
    const settle = (result: ProbeResult): void => {
      timer.cancel()
      socket.destroy()
      resolve(result)
    }
    const fail = (reason: string, refused = false): void => settle({ kind: 'failed', refused, reason })
    // From the connect to the verdict, not since the last byte: a server that drips its answer would never be judged.
    const timer = clock.after(target.timeoutMs, () => fail(`no answer to the check within ${target.timeoutMs} ms`))
    socket.on('error', (error: NodeJS.ErrnoException) => settle(judgeError(error)))
    socket.on('end', () => fail('connection closed during the check'))
    socket.on('close', () => fail('connection closed during the check'))
    socket.on(tls === undefined ? 'connect' : 'secureConnect', () => {
      if (target.path === undefined) return settle({ kind: 'passed' })
      socket.write(
        `GET ${target.path} HTTP/1.1\r\nHost: ${hostHeader(target)}\r\nUser-Agent: spillway-check\r\nAccept: */*\r\nConnection: close\r\n\r\n`,
      )
    })
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1')
      const end = answer.indexOf('\r\n\r\n')
      if (end >= 0) settle(judge(answer.slice(0, end + 4)))
      else if (answer.length > ANSWER_BYTES_MAX) fail('the answer to the check is not HTTP')
    })
  })
}

function judge(text: string): ProbeResult {
  const head = parseResponseHead(text, 'GET', 1000)
  if (typeof head === 'string') return { kind: 'failed', refused: false, reason: `the answer to the check is not valid: ${head}` }
  if (head.status >= 200 && head.status < 400) return { kind: 'passed' }
  return { kind: 'failed', refused: false, reason: `the check answered ${head.status}` }
}

function judgeError(error: NodeJS.ErrnoException): ProbeResult {
  if (error.code !== undefined && ownShortage(error.code) !== undefined) return { kind: 'unasked', errno: error.code }
  const tls = tlsFailure(error)
  return { kind: 'failed', refused: error.code === 'ECONNREFUSED', reason: tls?.detail ?? plainReason(error) }
}

function hostHeader(target: ProbeTarget): string {
  const host = target.hostName ?? (target.host.includes(':') ? `[${target.host}]` : target.host)
  return target.port === (target.opening?.tls === undefined ? 80 : 443) ? host : `${host}:${target.port}`
}

/** What an operator calls it. */
function plainReason(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ECONNREFUSED':
      return 'connection refused'
    case 'ECONNRESET':
    case 'EPIPE':
      return 'connection reset'
    case 'ETIMEDOUT':
      return 'connection timed out'
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'no route to the host'
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'the name does not resolve'
    default:
      return error.code ?? error.message
  }
}
