/** Reads HTTP/1.1 messages from bytes that come in pieces: written for the simulation alone, so that it shares no mistake with the gateway. */

export interface Message {
  /** The request line or the status line. */
  readonly start: string
  /** Lower-case names; the last one of equal names counts. */
  readonly headers: ReadonlyMap<string, string>
  body: Buffer
}

export interface ReaderEvents {
  head?(message: Message): void
  /** A part of the body, as soon as it is there. */
  part?(message: Message, part: Buffer): void
  message(message: Message): void
}

type State = 'head' | 'sized' | 'chunk-size' | 'chunk' | 'trailers' | 'until-close'

export class HttpReader {
  /** What came was no HTTP. */
  broken = false
  readonly #role: 'client' | 'server'
  readonly #events: ReaderEvents
  #state: State = 'head'
  #pending: Buffer = Buffer.alloc(0)
  #message: Message | undefined
  #parts: Buffer[] = []
  #left = 0

  constructor(role: 'client' | 'server', events: ReaderEvents) {
    this.#role = role
    this.#events = events
  }

  /** Somewhere in a message. */
  get busy(): boolean {
    return this.#message !== undefined || this.#pending.length > 0
  }

  feed(bytes: Buffer): void {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes])
    while (!this.broken && this.#step());
  }

  /** The other side has ended. True: that was an end in order. */
  end(): boolean {
    if (this.#state === 'until-close') {
      this.#finish()
      return true
    }
    return !this.busy
  }

  #step(): boolean {
    switch (this.#state) {
      case 'head':
        return this.#head()
      case 'sized':
        return this.#take(() => this.#finish())
      case 'chunk':
        return this.#take(() => void (this.#state = 'chunk-size'), 2)
      case 'chunk-size':
        return this.#chunkSize()
      case 'trailers':
        return this.#trailers()
      case 'until-close':
        if (this.#pending.length > 0) this.#keep(this.#cut(this.#pending.length))
        return false
    }
  }

  #head(): boolean {
    const end = this.#pending.indexOf('\r\n\r\n')
    if (end < 0) return false
    const [start = '', ...lines] = this.#cut(end + 4)
      .toString('latin1')
      .trimEnd()
      .split('\r\n')
    const headers = new Map(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]))
    const message: Message = { start, headers, body: Buffer.alloc(0) }
    const status = Number(start.split(' ')[1])
    if (this.#role === 'client' && !(status >= 100 && status < 600)) {
      this.broken = true
      return false
    }
    if (this.#role === 'client' && status < 200) return true
    this.#message = message
    this.#parts = []
    this.#events.head?.(message)
    const length = headers.get('content-length')
    if (headers.get('transfer-encoding') === 'chunked') this.#state = 'chunk-size'
    else if (length !== undefined) this.#sized(Number(length))
    else if (this.#role === 'server' || status === 204 || status === 304) this.#finish()
    else this.#state = 'until-close'
    return true
  }

  #sized(length: number): void {
    this.#left = length
    this.#state = 'sized'
    if (length === 0) this.#finish()
  }

  #take(done: () => void, behind = 0): boolean {
    if (this.#left > 0) {
      if (this.#pending.length === 0) return false
      const part = this.#cut(Math.min(this.#left, this.#pending.length))
      this.#left -= part.length
      this.#keep(part)
    }
    if (this.#left > 0 || this.#pending.length < behind) return false
    this.#cut(behind)
    done()
    return true
  }

  #chunkSize(): boolean {
    const end = this.#pending.indexOf('\r\n')
    if (end < 0) return false
    const size = Number.parseInt(this.#cut(end + 2).toString('latin1'), 16)
    this.#left = size
    this.#state = size === 0 ? 'trailers' : 'chunk'
    return true
  }

  #trailers(): boolean {
    const end = this.#pending.indexOf('\r\n')
    if (end < 0) return false
    if (this.#cut(end + 2).length === 2) this.#finish()
    return true
  }

  #keep(part: Buffer): void {
    this.#parts.push(part)
    this.#events.part?.(this.#message as Message, part)
  }

  #cut(length: number): Buffer {
    const cut = this.#pending.subarray(0, length)
    this.#pending = this.#pending.subarray(length)
    return cut
  }

  #finish(): void {
    const message = this.#message as Message
    message.body = Buffer.concat(this.#parts)
    this.#message = undefined
    this.#state = 'head'
    this.#events.message(message)
  }
}

export function statusOf(message: Message): number {
  return Number(message.start.split(' ')[1])
}
