/**
 * Files that somebody else replaces, looked at again and again. What a path leads to counts, so that a swapped symbolic link (certbot, Kubernetes)
 * is a change like a rename or a rewrite. Polled: what the system tells of changes misses some of these, and of network disks all.
 */
import { statSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { Millis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'

interface Facts {
  readonly dev: number
  readonly ino: number
  readonly size: number
  readonly mtimeMs: number
  readonly ctimeMs: number
}

export class WatchedFiles {
  readonly #clock: Clock
  readonly #everyMs: Millis
  readonly #changed: (files: ReadonlySet<string>) => void
  #seen = new Map<string, string>()
  #timer: Timer | undefined
  #closed = false

  /** `changed` is called after every look, with what is not as it was; mostly nothing. */
  constructor(clock: Clock, everyMs: Millis, changed: (files: ReadonlySet<string>) => void) {
    this.#clock = clock
    this.#everyMs = everyMs
    this.#changed = changed
  }

  /** These, from now on: to be called before they are read, so that no change goes unseen. */
  watch(files: Iterable<string>): void {
    this.#seen = new Map(Array.from(files, (file) => [file, signatureNow(file)]))
    this.#arm()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #arm(): void {
    this.#timer?.cancel()
    if (!this.#closed) this.#timer = this.#clock.after(this.#everyMs, () => void this.#look())
  }

  async #look(): Promise<void> {
    const seen = this.#seen
    const looked = await Promise.all(Array.from(seen.keys(), async (file) => [file, await signatureOf(file)] as const))
    // Meanwhile others may be watched.
    if (this.#closed || seen !== this.#seen) return
    const changed = new Set<string>()
    for (const [file, signature] of looked) {
      if (seen.get(file) === signature) continue
      seen.set(file, signature)
      changed.add(file)
    }
    this.#changed(changed)
    this.#arm()
  }
}

function signatureNow(file: string): string {
  try {
    return signature(statSync(file))
  } catch (error) {
    return missing(error)
  }
}

function signatureOf(file: string): Promise<string> {
  return stat(file).then(signature, missing)
}

function signature({ dev, ino, size, mtimeMs, ctimeMs }: Facts): string {
  return [dev, ino, size, mtimeMs, ctimeMs].join(' ')
}

function missing(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown'
}
