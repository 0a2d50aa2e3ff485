/** One health check: a TCP connect, or a request whose answer must be as expected. A connection of its own each time: that is what is tested. */
import { ownShortage, type ProbeResult } from '../core/health/health.ts'
import { tlsFailure } from '../core/tls/tls-failure.ts'
import { fieldLines } from '../http1/write.ts'
import { hostText } from '../lib/host-port.ts'
import type { Millis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { Network } from '../ports/network.ts'
import { checkAnswer, type ExpectedAnswer } from './check-answer.ts'
import type { Opening } from './dialling.ts'

export interface ProbeTarget extends ExpectedAnswer {
  readonly host: string
  readonly port: number
  /** Of which the host is an address. */
  readonly hostName?: string
  /** Absent: TCP only. */
  readonly path?: string
  /** Names and values in turns, sent with it. */
  readonly headers?: readonly string[]
  readonly timeoutMs: Millis
  /** As requests begin there. */
  readonly opening?: Opening | undefined
}

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
    const pieces: Buffer[] = []
    const settle = (result: ProbeResult): void => {
      timer.cancel()
      socket.destroy()
      resolve(result)
    }
    const fail = (reason: string, refused = false): void => settle({ kind: 'failed', refused, reason })
    // From the connect to the verdict, not since the last byte: a server that drips its answer would never be judged.
    const timer = clock.after(target.timeoutMs, () => fail(`no answer to the check within ${target.timeoutMs} ms`))
    socket.on('error', (error: NodeJS.ErrnoException) => settle(judgeError(error)))
    const look = (ended: boolean): void => {
      const result = checkAnswer(Buffer.concat(pieces), ended, target)
      if (result !== undefined) settle(result)
    }
    socket.on('end', () => look(true))
    socket.on('close', () => fail('connection closed during the check'))
    socket.on(tls === undefined ? 'connect' : 'secureConnect', () => {
      if (target.path === undefined) settle({ kind: 'passed' })
      else socket.write(requestOf(target, target.path))
    })
    socket.on('data', (piece: Buffer) => {
      pieces.push(piece)
      look(false)
    })
  })
}

function requestOf(target: ProbeTarget, path: string): string {
  const { method = 'GET', headers = [] } = target
  const own = headers.map((field, i) => (i % 2 === 0 ? field.toLowerCase() : ''))
  const host = own.includes('host') ? '' : `Host: ${hostHeader(target)}\r\n`
  const agent = own.includes('user-agent') ? '' : 'User-Agent: spillway-check\r\n'
  const accept = own.includes('accept') ? '' : 'Accept: */*\r\n'
  return `${method} ${path} HTTP/1.1\r\n${host}${agent}${accept}${fieldLines(headers)}Connection: close\r\n\r\n`
}

function judgeError(error: NodeJS.ErrnoException): ProbeResult {
  if (error.code !== undefined && ownShortage(error.code) !== undefined) return { kind: 'unasked', errno: error.code }
  const tls = tlsFailure(error)
  return { kind: 'failed', refused: error.code === 'ECONNREFUSED', reason: tls?.detail ?? plainReason(error) }
}

function hostHeader(target: ProbeTarget): string {
  const host = target.hostName ?? hostText(target.host)
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
