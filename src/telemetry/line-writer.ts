/**
 * Writes lines to a file descriptor without ever making the event loop wait: lines gather in memory, one write is under way at a time,
 * and each write takes all that gathered meanwhile. The memory is bounded: a line that does not fit is dropped and counted.
 *
 * Why not pino: our lines are a handful of fixed shapes, so a serialiser is a template; what matters is what happens when a disk or
 * a pipe's reader stalls, and that (drop, count, go on) is exactly this file. It is smaller than the configuration of a logger would be.
 */
import { closeSync, openSync, write, writeSync } from 'node:fs'
import type { Millis } from '../lib/units.ts'

export interface LineWriterOptions {
  /** UTF-16 units that may wait to be written, the write under way included. */
  readonly bufferedMax: number
  /** How long lines may gather before they are written. */
  readonly delayMs: Millis
  /** Told of every line that is lost. */
  readonly onDrop: (lines: number) => void
}

/** Lines that gathered this far are written at once. */
const CHUNK_CHARS = 64 * 1024
/** A pipe whose reader is slow says "again"; this long until we ask again. */
const AGAIN_MS = 10
/** How long `close` and `flushSync` wait for a reader that does not read. */
const PATIENCE_MS = 1000

export class LineWriter {
  private readonly fd: number
  private readonly owned: boolean
  private readonly options: LineWriterOptions
  private lines: string[] = []
  private chars = 0
  private writingChars = 0
  private timer: NodeJS.Timeout | undefined
  /** The reader is gone for good, or the writer is closed: everything is dropped. */
  private broken = false
  private idle: (() => void)[] = []

  /** `fd` 1 or 2 stay open; a path is opened for appending, readable for its owner only. Throws when it cannot be opened. */
  constructor(target: number | string, options: LineWriterOptions) {
    this.owned = typeof target === 'string'
    this.fd = typeof target === 'string' ? openSync(target, 'a', 0o600) : target
    this.options = options
  }

  /** Without its newline. False: dropped. */
  write(line: string): boolean {
    const size = line.length + 1
    if (this.broken || this.chars + this.writingChars + size > this.options.bufferedMax) {
      this.options.onDrop(1)
      return false
    }
    this.lines.push(line)
    this.chars += size
    if (this.chars >= CHUNK_CHARS) this.begin()
    else this.timer ??= setTimeout(() => this.begin(), this.options.delayMs).unref()
    return true
  }

  /** Resolves when all that was accepted before is written, or cannot be within a second. */
  async flush(): Promise<void> {
    this.begin()
    if (this.writingChars === 0 && this.chars === 0) return
    let patience: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.idle.push(resolve)
      patience = setTimeout(resolve, PATIENCE_MS)
    })
    clearTimeout(patience)
  }

  /** For the last words of a process. What an asynchronous write has in hand may come after it. */
  flushSync(): void {
    const left = this.take()
    let done = 0
    const until = performance.now() + PATIENCE_MS
    while (done < left.length && performance.now() < until) {
      try {
        done += writeSync(this.fd, left, done)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
      }
    }
  }

  async close(): Promise<void> {
    await this.flush()
    this.drop(this.lines.length)
    this.broken = true
    // With a write still under way the descriptor must stay: its number could be another file's by then.
    if (this.owned && this.writingChars === 0) closeSync(this.fd)
  }

  private take(): Buffer {
    clearTimeout(this.timer)
    this.timer = undefined
    if (this.lines.length === 0) return Buffer.alloc(0)
    this.lines.push('')
    const bytes = Buffer.from(this.lines.join('\n'))
    this.lines = []
    this.chars = 0
    return bytes
  }

  private begin(): void {
    if (this.writingChars > 0 || this.broken) return
    const lines = this.lines.length
    const chars = this.chars
    const bytes = this.take()
    if (bytes.length === 0) return
    this.writingChars = chars
    this.writeOn(bytes, 0, lines)
  }

  private writeOn(bytes: Buffer, from: number, lines: number): void {
    write(this.fd, bytes, from, bytes.length - from, null, (error, written) => {
      if (error?.code === 'EAGAIN') {
        setTimeout(() => this.writeOn(bytes, from, lines), AGAIN_MS)
      } else if (error === null && from + written < bytes.length) {
        this.writeOn(bytes, from + written, lines)
      } else {
        this.ended(error, lines)
      }
    })
  }

  private ended(error: NodeJS.ErrnoException | null, lines: number): void {
    this.writingChars = 0
    if (error !== null) this.options.onDrop(lines)
    // A full disk may have room again later; a closed pipe stays closed.
    if (error?.code === 'EPIPE' || error?.code === 'EBADF') {
      this.drop(this.lines.length)
      this.broken = true
    }
    if (this.chars > 0) this.begin()
    else for (const resolve of this.idle.splice(0)) resolve()
  }

  private drop(lines: number): void {
    if (lines > 0) this.options.onDrop(lines)
    this.take()
  }
}
