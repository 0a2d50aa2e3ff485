/**
 * Writing to a socket with as few system calls as the message allows: what is written while corked leaves together. Small pieces are
 * copied into one buffer (one write), large ones go out as they are (one writev).
 */
import type { NetworkSocket } from '../ports/network.ts'

const COPY_BYTES_MAX = 16 * 1024
const NOTHING = new Uint8Array(0)

/** Bytes that a socket still refers to after they were written as they are, and not as a copy. */
export class Loan {
  /** Told once, when the socket is done with them; never, when it broke: then nobody knows. */
  onReturn: (() => void) | undefined

  readonly end = (error?: Error | null): void => {
    if (!error) this.onReturn?.()
  }
}

export class Output {
  readonly #socket: NetworkSocket
  #pieces: (string | Uint8Array)[] = []
  #bytes = 0
  #corked = false
  /** Since it was corked, bytes were lent. */
  #lent = false
  /** Of all of them; undefined: nobody will tell. */
  #loan: Loan | undefined
  /** All that it was given, gone out or not. */
  written = 0

  constructor(socket: NetworkSocket) {
    this.#socket = socket
  }

  get corked(): boolean {
    return this.#corked
  }

  cork(): void {
    this.#corked = true
    this.#lent = false
    this.#loan = undefined
  }

  /** What the socket still refers to of what it was given since `cork`: those bytes must not be reused yet. */
  uncork(): Loan | undefined {
    this.#corked = false
    if (this.#bytes > 0) this.#flush()
    return this.#lent && this.#socket.writableLength > 0 ? (this.#loan ?? new Loan()) : undefined
  }

  /** Strings are latin1. False: the peer is behind, wait for `drain`. */
  write(piece: string | Uint8Array): boolean {
    this.written += piece.length
    if (this.#corked) {
      this.#pieces.push(piece)
      this.#bytes += piece.length
    } else if (!this.#socket.destroyed && !this.#socket.writableEnded) this.#send(piece)
    return !this.blocked
  }

  /**
   * For a chunk that nobody else keeps: its memory goes back when the kernel has the bytes. The collector would come for it after
   * 32 MiB of them, which is what a long upload would add to the process.
   */
  writeOwned(piece: Uint8Array): boolean {
    if (this.#corked || this.#socket.destroyed || this.#socket.writableEnded) return this.write(piece)
    this.written += piece.length
    this.#socket.write(piece, (error) => giveBack(piece, error))
    return !this.blocked
  }

  /** The same for pieces that were written as they are: they were views of `whole`, which nobody else keeps. */
  release(whole: Uint8Array): void {
    if (this.#socket.writableLength === 0) giveBack(whole)
    else if (!this.#socket.writableEnded) this.#socket.write(NOTHING, (error) => giveBack(whole, error))
  }

  /**
   * More is on its way than the socket wants, and `drain` will tell when it is gone. What is corked does not count, however much: the socket may
   * take it at once, and then says nothing afterwards.
   */
  get blocked(): boolean {
    return this.#socket.writableNeedDrain
  }

  #flush(): void {
    const pieces = this.#pieces
    const bytes = this.#bytes
    this.#pieces = []
    this.#bytes = 0
    if (this.#socket.destroyed || this.#socket.writableEnded) return
    if (pieces.length > 1 && bytes <= COPY_BYTES_MAX) this.#socket.write(join(pieces, bytes))
    else if (pieces.some(isBytes)) this.#lend(pieces)
    else for (const piece of pieces) this.#send(piece)
  }

  /** With the end of the last one, that of all is told. */
  #lend(pieces: readonly (string | Uint8Array)[]): void {
    const last = pieces.length - 1
    if (last > 0) this.#socket.cork()
    for (let i = 0; i < last; i++) this.#send(pieces[i] as string | Uint8Array)
    const loan = new Loan()
    this.#send(pieces[last] as string | Uint8Array, loan.end)
    if (last > 0) this.#socket.uncork()
    this.#lent = true
    this.#loan = loan
  }

  #send(piece: string | Uint8Array, end?: (error?: Error | null) => void): void {
    if (typeof piece === 'string') this.#socket.write(piece, 'latin1', end)
    else {
      this.#lent = true
      this.#loan = undefined
      this.#socket.write(piece, end)
    }
  }
}

function isBytes(piece: string | Uint8Array): boolean {
  return typeof piece !== 'string'
}

/** What is a part of something larger stays, and what a broken socket may still refer to. */
function giveBack({ buffer, byteLength }: Uint8Array, error?: Error | null): void {
  if (!error && buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0)
}

function join(pieces: readonly (string | Uint8Array)[], bytes: number): Buffer {
  const all = Buffer.allocUnsafe(bytes)
  let at = 0
  for (const piece of pieces) {
    if (typeof piece === 'string') at += all.write(piece, at, 'latin1')
    else {
      all.set(piece, at)
      at += piece.length
    }
  }
  return all
}
