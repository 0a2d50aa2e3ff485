/** The gateway's end of a simulated connection: behaves like a socket of `node:net` as far as the gateway uses one. */
import type { OnReadOpts } from 'node:net'
import { Duplex } from 'node:stream'
import type { NetworkSocket } from '../../src/ports/network.ts'
import type { Link } from './link.ts'

export interface SocketOptions {
  readonly allowHalfOpen: boolean
  readonly onread: OnReadOpts | undefined
}

type Done = (error?: Error | null) => void

export class SimSocket extends Duplex implements NetworkSocket {
  remoteAddress: string | undefined
  remotePort: number | undefined
  /** The kernel may hand over what has arrived. */
  reading = false
  readonly #link: Link
  readonly #onread: OnReadOpts | undefined
  #buffer: Uint8Array | undefined
  #connecting = true
  #whenConnected: (() => void) | undefined
  #reset = false
  #ended = false

  constructor(link: Link, options: SocketOptions) {
    super({ allowHalfOpen: options.allowHalfOpen })
    this.#link = link
    this.#onread = options.onread
  }

  get connecting(): boolean {
    return this.#connecting
  }

  // --- from the network

  established(): void {
    if (this.destroyed) return
    this.#connecting = false
    if (this.#onread !== undefined) this.#buffer = nextBuffer(this.#onread)
    if (!this.isPaused()) this.read(0)
    this.emit('connect')
    this.#whenConnected?.()
    this.#whenConnected = undefined
  }

  refused(): void {
    this.broken('ECONNREFUSED')
  }

  broken(code: string): void {
    if (!this.destroyed) this.destroy(Object.assign(new Error(`simulated ${code}`), { code }))
  }

  /** Undefined: the other side has ended. Returns how many bytes were taken. */
  received(bytes: Buffer | undefined): number {
    if (bytes === undefined) {
      this.push(null)
      this.read(0)
      return 0
    }
    if (this.#onread !== undefined) return this.#receivedInto(this.#onread, bytes)
    // The kernel's bytes are copied for whoever reads them.
    const own = Buffer.allocUnsafeSlow(bytes.length)
    own.set(bytes)
    if (!this.push(own)) this.reading = false
    return bytes.length
  }

  #receivedInto(onread: OnReadOpts, bytes: Buffer): number {
    const buffer = this.#buffer as Uint8Array
    const taken = Math.min(bytes.length, buffer.length)
    buffer.set(bytes.subarray(0, taken))
    const flowing = onread.callback(taken, buffer)
    const next = typeof onread.buffer === 'function' ? onread.buffer() : undefined
    if (next instanceof Uint8Array) this.#buffer = next
    if (!flowing) this.reading = false
    return taken
  }

  // --- as `node:net` has it

  resetAndDestroy(): this {
    this.#reset = true
    return this.destroy()
  }

  override pause(): this {
    if (this.#onread !== undefined) this.reading = false
    return super.pause()
  }

  override resume(): this {
    if (this.#onread !== undefined && !this.#connecting) this.#read()
    return super.resume()
  }

  override _read(): void {
    if (this.#connecting) this.once('connect', () => this.#read())
    else this.#read()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    // The caller may use its bytes again once they are written.
    const bytes = Buffer.from(chunk)
    this.#afterConnect(() => this.#link.write(bytes, () => done()))
  }

  override _writev(chunks: { chunk: Buffer }[], done: Done): void {
    const bytes = Buffer.concat(chunks.map(({ chunk }) => chunk))
    this.#afterConnect(() => this.#link.write(bytes, () => done()))
  }

  override _final(done: Done): void {
    this.#afterConnect(() => {
      this.#ended = true
      this.#link.endFromGateway()
      done()
    })
  }

  override _destroy(error: Error | null, done: Done): void {
    this.reading = false
    this.#whenConnected = undefined
    this.#link.closedByGateway({ reset: this.#reset, ended: this.#ended })
    done(error)
  }

  #read(): void {
    if (this.destroyed) return
    this.reading = true
    this.#link.wanted()
  }

  #afterConnect(fn: () => void): void {
    if (this.#connecting) this.#whenConnected = fn
    else fn()
  }
}

function nextBuffer(onread: OnReadOpts): Uint8Array {
  return typeof onread.buffer === 'function' ? onread.buffer() : onread.buffer
}
