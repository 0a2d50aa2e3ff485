/** The request's body on its way up: read once from the client, copied while small, sent to one server after the other if need be. */
import { withoutFields } from '../core/actions/header-edits.ts'
import { forwardTrailers } from '../core/headers/forward.ts'
import type { Bytes } from '../lib/units.ts'
import type { BodySink } from '../net/call.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import type { UpstreamConnection } from '../net/upstream-connection.ts'
import { BodyCopy } from './body-copy.ts'
import type { LiveContext } from './context.ts'
import type { MirroredBody } from './mirror.ts'

interface RequestStreamOptions {
  /** So much is kept, to be sent again. */
  readonly copyBytesMax: Bytes
  /** Names that only the gateway says, in lower case. */
  readonly only: ReadonlySet<string> | undefined
  readonly tooLarge: () => void
}

export class RequestStream implements BodySink {
  /** Told once, when the body has been read, or will not be. */
  mirror: ((body: MirroredBody) => void) | undefined
  started = false
  ended = false
  readonly #call: DownstreamCall
  readonly #copy: BodyCopy
  readonly #bytesMax: Bytes
  readonly #tooLarge: () => void
  readonly #only: ReadonlySet<string> | undefined
  #trailers: readonly string[] = []
  #connection: UpstreamConnection | undefined
  #rest: BodySink | undefined

  constructor(call: DownstreamCall, context: LiveContext, { copyBytesMax, only, tooLarge }: RequestStreamOptions) {
    this.#call = call
    this.#bytesMax = context.config.limits.body
    this.#tooLarge = tooLarge
    this.#only = only
    this.#copy = new BodyCopy(copyBytesMax, context.budget)
  }

  get trailers(): readonly string[] {
    return this.#trailers
  }

  get replayable(): boolean {
    return this.#copy.whole
  }

  sendTo(connection: UpstreamConnection): void {
    this.#connection = connection
    connection.drainListener = () => this.#call.body.resume()
    connection.cork()
    for (const piece of this.#copy.pieces) connection.write(piece)
    if (this.ended) connection.end(this.#trailers)
    else if (this.started) this.#call.body.resume()
    else {
      this.started = true
      this.#call.body.start(this)
    }
    connection.uncork()
  }

  /** All of it, beside the one that has it already; it must have ended, and be replayable. */
  copyTo(connection: UpstreamConnection): void {
    connection.cork()
    for (const piece of this.#copy.pieces) connection.write(piece)
    connection.end(this.#trailers)
    connection.uncork()
  }

  cork(): void {
    this.#connection?.cork()
  }

  uncork(spent: Buffer | undefined): void {
    this.#connection?.uncork()
    if (spent !== undefined && this.#rest === undefined && !this.#copy.whole) this.#connection?.release(spent)
  }

  data(chunk: Buffer): boolean {
    if (this.#rest !== undefined) return this.#rest.data(chunk)
    if (this.#bytesMax > 0 && this.#call.bytesIn > this.#bytesMax) {
      this.#tooLarge()
      return true
    }
    this.#copy.add(chunk)
    return this.#connection?.write(chunk, !this.#copy.whole) ?? false
  }

  end(trailers: readonly string[]): void {
    this.ended = true
    if (this.#rest !== undefined) return this.#rest.end(trailers)
    const passed = forwardTrailers(trailers, this.#call.head.connection)
    this.#trailers = this.#only === undefined ? passed : withoutFields(passed, this.#only)
    this.#connection?.end(this.#trailers)
    if (this.mirror !== undefined) this.#tellMirror(this.#copy.whole ? this.#copy.pieces : 'body')
  }

  /** The call's own `onGone` breaks off the exchange; only a job in the making has to hear of it here. */
  abort(reason: string): void {
    if (this.#rest !== undefined) this.#rest.abort(reason)
    else this.#connection?.destroy()
  }

  /** There is no server now: nothing is read, so that what was read stays within the copy. */
  hold(): void {
    this.#connection = undefined
    if (this.started && !this.ended) this.#call.body.pause()
  }

  takeCopy(): readonly Uint8Array[] {
    this.#connection = undefined
    return this.#copy.pieces
  }

  #tellMirror(body: MirroredBody): void {
    this.mirror?.(body)
    this.mirror = undefined
  }

  dropCopy(): void {
    if (this.mirror !== undefined) this.#tellMirror('incomplete')
    this.#copy.close()
  }

  divertTo(rest: BodySink): void {
    this.#rest = rest
    this.#call.body.resume()
  }
}
