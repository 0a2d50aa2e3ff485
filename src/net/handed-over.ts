/**
 * Connections that another thread of this gateway has taken, and hands over: before the first request stands one line that says whose they are, and
 * shows a secret that only threads of this gateway know.
 */
import { timingSafeEqual } from 'node:crypto'
import type { Endpoint } from '../core/proxy-protocol/header.ts'
import { isMapping } from '../lib/mapping.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { NetworkSocket } from '../ports/network.ts'
import type { Arrival, Arriving, Host, Receiver } from './reception.ts'

/** Who a connection is from, as the thread knows it that took it. */
export interface HandedPeer {
  readonly source: Endpoint
  readonly destination: Endpoint
  readonly secure: boolean
  readonly clientCert?: string | undefined
}

const LINE_END = 10
/** A client's certificate is the only part that may be long. */
const LINE_BYTES_MAX: Bytes = 128 * 1024
const LINE_MS: Millis = 5_000

export function handOverLine(secret: string, peer: HandedPeer): Buffer {
  return Buffer.from(`${JSON.stringify({ secret, ...peer })}\n`)
}

/** Undefined: it is none of ours. */
export function readHandOver(line: Buffer, secret: string): HandedPeer | undefined {
  let value: unknown
  try {
    value = JSON.parse(line.toString())
  } catch {
    return undefined
  }
  if (!isMapping(value) || typeof value['secret'] !== 'string' || !isSame(value['secret'], secret)) return undefined
  return value as unknown as HandedPeer
}

function isSame(shown: string, secret: string): boolean {
  const [a, b] = [Buffer.from(shown), Buffer.from(secret)]
  return a.length === b.length && timingSafeEqual(a, b)
}

/** What the line begins with, where it is one of ours: of anybody else no more than this is kept. */
function beginningOf(secret: string): Buffer {
  return Buffer.from(JSON.stringify({ secret }).slice(0, -1))
}

export class HandedOver implements Receiver {
  readonly isSecure = false
  readonly #secret: string
  readonly #beginning: Buffer
  readonly #clock: Clock

  constructor(secret: string, clock: Clock) {
    this.#secret = secret
    this.#beginning = beginningOf(secret)
    this.#clock = clock
  }

  close(): void {}

  receive(socket: NetworkSocket, host: Host): Arriving {
    return new ArrivingLine(socket, host, { secret: this.#secret, beginning: this.#beginning, clock: this.#clock })
  }
}

interface LineParts {
  readonly secret: string
  readonly beginning: Buffer
  readonly clock: Clock
}

class ArrivingLine implements Arriving {
  readonly #socket: NetworkSocket
  readonly #host: Host
  readonly #secret: string
  readonly #beginning: Buffer
  readonly #timer: Timer
  #input: Buffer | undefined
  #isOver = false

  constructor(socket: NetworkSocket, host: Host, { secret, beginning, clock }: LineParts) {
    this.#socket = socket
    this.#host = host
    this.#secret = secret
    this.#beginning = beginning
    this.#timer = clock.after(LINE_MS, this.abandon)
    socket.on('error', this.abandon).on('close', this.abandon).on('end', this.abandon).on('readable', this.#read)
  }

  readonly abandon = (): void => {
    if (this.#isOver) return
    this.#over()
    this.#socket.destroy()
    this.#host.gone()
  }

  readonly #read = (): void => {
    const chunk = this.#socket.read() as Buffer | null
    if (chunk === null) return
    const input = this.#input === undefined ? chunk : Buffer.concat([this.#input, chunk])
    this.#input = input
    const end = input.indexOf(LINE_END)
    if (!this.#mayBeOurs(input)) return this.abandon()
    if (end < 0 && input.length <= LINE_BYTES_MAX) return
    const peer = end < 0 ? undefined : readHandOver(input.subarray(0, end), this.#secret)
    if (peer === undefined) return this.abandon()
    this.#over()
    this.#socket.off('error', this.abandon).off('close', this.abandon).off('end', this.abandon).off('readable', this.#read)
    if (end + 1 < input.length) this.#socket.unshift(input.subarray(end + 1))
    this.#host.ready(arrivalOf(this.#socket, peer))
  }

  #mayBeOurs(input: Buffer): boolean {
    const { length } = this.#beginning
    return input.length < length || timingSafeEqual(input.subarray(0, length), this.#beginning)
  }

  #over(): void {
    this.#isOver = true
    this.#timer.cancel()
  }
}

function arrivalOf(socket: NetworkSocket, { source, destination, secure, clientCert }: HandedPeer): Arrival {
  return { socket, source, destination, secure, ...(clientCert !== undefined && { clientCert }) }
}
