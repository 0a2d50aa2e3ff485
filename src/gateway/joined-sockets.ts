/**
 * The two sockets of a tunnel: bytes both ways, each direction ended by itself. What is said on them is not ours to know, so the gentlest end that we
 * can give is the one that a client would give: the server is told that nothing more comes, may say goodbye, and its end is passed on.
 */
import type { Bytes, Millis } from '../lib/units.ts'
import { type Deadline, NEVER, type Sweepable, type Sweeper } from '../net/sweeper.ts'
import type { NetworkSocket } from '../ports/network.ts'

export interface End {
  readonly socket: NetworkSocket
  readonly rest: Buffer
}

export interface JoinOptions {
  readonly sweeper: Sweeper
  /** Without a byte either way. */
  readonly idleMs: Millis
  readonly onClosed: (isIdle: boolean) => void
}

/** How long the server may take to end, and then the client. */
const GOODBYE_MS: Millis = 2_000

export class JoinedSockets implements Sweepable {
  deadlineAt: Deadline = NEVER
  /** From the client, and to it. */
  bytesIn: Bytes = 0
  bytesOut: Bytes = 0
  readonly #down: NetworkSocket
  readonly #up: NetworkSocket
  readonly #options: JoinOptions
  #ending = false
  #closed = false

  constructor(down: End, up: End, options: JoinOptions) {
    this.#options = options
    this.#down = down.socket
    this.#up = up.socket
    this.#wake()
    options.sweeper.add(this)
    if (down.rest.length > 0) up.socket.write(down.rest)
    if (up.rest.length > 0) down.socket.write(up.rest)
    this.bytesIn = down.rest.length
    this.bytesOut = up.rest.length
    this.#pump(down.socket, up.socket)
    this.#pump(up.socket, down.socket)
  }

  get ending(): boolean {
    return this.#ending
  }

  /** Gently: the server hears the end first. */
  end(): void {
    if (this.#closed || this.#ending) return
    this.#ending = true
    this.deadlineAt = this.#options.sweeper.in(GOODBYE_MS)
    this.#up.end()
  }

  readonly close = (): void => {
    this.#close(false)
  }

  #wake(): void {
    if (!this.#ending) this.deadlineAt = this.#options.sweeper.in(this.#options.idleMs)
  }

  /** `pipe` would do, but the idle time must see each byte, and half-close must pass as it came. */
  #pump(from: NetworkSocket, to: NetworkSocket): void {
    from.on('data', (chunk: Buffer) => {
      this.#wake()
      if (from === this.#down) this.bytesIn += chunk.length
      else this.bytesOut += chunk.length
      // What a client says behind the end that we made is for nobody.
      if (!to.writableEnded && !to.write(chunk)) from.pause()
    })
    to.on('drain', () => from.resume())
    from.on('end', () => to.end())
    from.on('error', this.close)
    from.on('close', () => {
      // Both its directions are over: the other side still gets what was sent to it, and nobody is left to hear it.
      if (!from.readableEnded || to.writableFinished || to.destroyed) this.close()
      else to.on('finish', this.close)
    })
    from.resume()
  }

  onDeadline(): void {
    if (!this.#ending || this.#down.writableEnded) return this.#close(!this.#ending)
    this.deadlineAt = this.#options.sweeper.in(GOODBYE_MS)
    this.#down.end()
  }

  #close(isIdle: boolean): void {
    if (this.#closed) return
    this.#closed = true
    this.#options.sweeper.delete(this)
    this.#down.destroy()
    this.#up.destroy()
    this.#options.onClosed(isIdle)
  }
}
