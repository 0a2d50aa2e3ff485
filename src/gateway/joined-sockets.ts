/**
 * The two sockets of a tunnel: bytes both ways, each direction ended by itself. The gentlest end that we can give is the one that a leaving client would
 * give: the server is told first, by the goodbye of the protocol where that is known (between two of the client's frames), else by the end of the stream;
 * what it answers, and its own end, are passed on.
 */
import type { Bytes, Millis } from '../lib/units.ts'
import type { FrameTracker } from '../http1/websocket-frames.ts'
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
  /** Absent: what is said is not ours to know. */
  readonly goodbye?: Goodbye | undefined
}

/** How a client of this protocol leaves. */
export interface Goodbye {
  /** What comes from the client. */
  readonly frames: FrameTracker
  readonly words: () => Uint8Array
}

/** How long the server may take to end, or the client to end what it says just now; and then both of them. */
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
  /** The server has heard it in the protocol's own words. */
  #said = false
  #closed = false

  constructor(down: End, up: End, options: JoinOptions) {
    this.#options = options
    this.#down = down.socket
    this.#up = up.socket
    this.#wake()
    options.sweeper.add(this)
    if (down.rest.length > 0) up.socket.write(down.rest)
    options.goodbye?.frames.read(down.rest)
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
    const { goodbye } = this.#options
    if (goodbye === undefined || goodbye.frames.saidClose) this.#up.end()
    else if (goodbye.frames.isBetween) this.#say(goodbye)
  }

  #say({ words }: Goodbye): void {
    this.#said = true
    this.#up.write(words())
  }

  /** False: no more now. */
  #passUp(chunk: Buffer): boolean {
    // What a client says behind the end that we made is for nobody.
    if (this.#said || this.#up.writableEnded) return true
    const { goodbye } = this.#options
    if (goodbye === undefined) return this.#up.write(chunk)
    const passed = goodbye.frames.read(chunk, this.#ending)
    const flowing = this.#up.write(passed === chunk.length ? chunk : chunk.subarray(0, passed))
    if (this.#ending && goodbye.frames.isBetween && !goodbye.frames.saidClose) this.#say(goodbye)
    return flowing
  }

  #passDown(chunk: Buffer): boolean {
    return this.#down.writableEnded || this.#down.write(chunk)
  }

  readonly close = (): void => {
    this.#close(false)
  }

  #wake(): void {
    if (!this.#ending) this.deadlineAt = this.#options.sweeper.in(this.#options.idleMs)
  }

  /** `pipe` would do, but the idle time must see each byte, and half-close must pass as it came. */
  #pump(from: NetworkSocket, to: NetworkSocket): void {
    const isUp = to === this.#up
    from.on('data', (chunk: Buffer) => {
      this.#wake()
      if (isUp) this.bytesIn += chunk.length
      else this.bytesOut += chunk.length
      if (!(isUp ? this.#passUp(chunk) : this.#passDown(chunk))) from.pause()
    })
    to.on('drain', () => from.resume())
    from.on('end', () => {
      to.end()
      // It has answered our goodbye, and expects no more.
      if (this.#said) this.#up.end()
    })
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
    this.#up.end()
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
