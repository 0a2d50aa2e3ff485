/**
 * What an import has understood of another program's configuration, before it is written: the same for every program that is imported from.
 * What it has not understood is kept with its line and the reason; nothing is guessed.
 */
import type { SimpleMatch } from '../../core/routing/precedence.ts'
import { parseSize } from '../../lib/size.ts'
import type { Millis } from '../../lib/units.ts'

export interface Place {
  readonly file: string
  readonly line: number
}

/** A line of the file that is imported. */
export interface SourceLine {
  readonly at: Place
  readonly text: string
}

/** `needless`: it needs no translation. `left`: what it says does not hold here, or not quite. */
export interface Note {
  readonly source: SourceLine
  readonly kind: 'left' | 'needless'
  readonly reason: string
}

/** `value` as it stands in YAML. */
export interface Setting {
  readonly path: readonly string[]
  readonly value: string
  readonly source: SourceLine
  readonly remark?: string
}

interface DraftListener {
  readonly address: string
  /** What stands beside the address, as YAML. */
  readonly keys: DraftRoute['keys']
  readonly source: SourceLine
}

export interface DraftServer {
  readonly url: string
  readonly weight: number | undefined
  readonly backup: boolean
  readonly source: SourceLine
}

export interface DraftPool {
  readonly name: string
  readonly source: SourceLine
  readonly servers: DraftServer[]
  /** Below the pool. */
  readonly settings: Setting[]
}

export type DraftMatch = SimpleMatch

export interface DraftRoute {
  readonly match: DraftMatch
  /** What stands beside the match, as YAML. */
  readonly keys: readonly (readonly [key: string, value: string])[]
  readonly source: SourceLine
  /** Why its requests are refused: they would not go where they went before. */
  readonly off: string | undefined
}

/**
 * What cannot be done as it was done is refused, rather than sent where another route says, or let in where it was kept out.
 */
export function refused(off: string): Pick<DraftRoute, 'keys' | 'off'> {
  return { keys: [['answer', '{ status: 503, body: "Not translated from the configuration before." }']], off }
}

export class Draft {
  readonly listeners: DraftListener[] = []
  readonly pools: DraftPool[] = []
  readonly routes: DraftRoute[] = []
  /** Of the file as a whole: limits, timeouts. */
  readonly settings: Setting[] = []
  readonly notes: Note[] = []

  listen(address: string, source: SourceLine, keys: DraftRoute['keys'] = []): void {
    if (!this.listeners.some((listener) => listener.address === address)) this.listeners.push({ address, keys, source })
  }

  /** The first one for the same requests counts. */
  route(route: DraftRoute): void {
    const key = matchKey(route.match)
    const first = this.routes.find(({ match }) => matchKey(match) === key)
    if (first === undefined) this.routes.push(route)
    else if (first.source !== route.source) this.left(route.source, `${placeText(first.source.at)} takes the same requests`)
  }

  left(source: SourceLine, reason: string): void {
    this.#note({ source, kind: 'left', reason })
  }

  needless(source: SourceLine, reason: string): void {
    this.#note({ source, kind: 'needless', reason })
  }

  /** The same of one line once, however many routes it is about. */
  #note(note: Note): void {
    if (!this.notes.some(({ source, reason }) => source === note.source && reason === note.reason)) this.notes.push(note)
  }

  pool(name: string): DraftPool | undefined {
    return this.pools.find((pool) => pool.name === name)
  }

  /** A name that is free, and that a configuration takes. */
  poolName(wanted: string): string {
    const base = wanted.replaceAll(/[^A-Za-z0-9_.-]/g, '-').replace(/^[^A-Za-z0-9]+/, '') || 'pool'
    for (let n = 1; ; n++) {
      const name = n === 1 ? base.slice(0, 60) : `${base.slice(0, 55)}-${n}`
      if (this.pool(name) === undefined) return name
    }
  }

  /** Twice the same is said once; two that contradict are not both possible: the second one is left. */
  set(setting: Setting): void {
    setIn(this.settings, setting, this)
  }
}

/** Gives false where another value stands there. */
export function setIn(settings: Setting[], setting: Setting, draft: Draft): boolean {
  const key = setting.path.join('.')
  const present = settings.find(({ path }) => path.join('.') === key)
  if (present === undefined) settings.push(setting)
  else if (present.value !== setting.value)
    draft.left(setting.source, `${key} is one for all here, and is ${present.value} by ${placeText(present.source.at)}`)
  return present === undefined || present.value === setting.value
}

export function matchKey({ host, path, methods, headers, query }: DraftMatch): string {
  const inOrder = (tests: DraftMatch['headers']): [string, unknown][] => Object.entries(tests).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([host, path, methods.toSorted(), inOrder(headers), inOrder(query)])
}

/** Whatever is asked for there. */
export function matchOf(host: string | undefined, path: string): DraftMatch {
  return { host, path, methods: [], headers: {}, query: {} }
}

export function placeText({ file, line }: Place): string {
  return `${file}:${line}`
}

/** `1500` → `1500ms`, `60000` → `1m`; undefined: longer than a configuration takes, or nothing. */
export function durationText(ms: Millis): string | undefined {
  if (!Number.isSafeInteger(ms) || ms <= 0 || ms > 3650 * 86_400_000) return undefined
  const units = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'm'],
    [1000, 's'],
  ] as const
  for (const [unit, name] of units) if (ms % unit === 0) return `${ms / unit}${name}`
  return `${ms}ms`
}

export function sizeText(bytes: number): string | undefined {
  if (!Number.isSafeInteger(bytes) || bytes <= 0) return undefined
  const units = [
    [1 << 30, 'GiB'],
    [1 << 20, 'MiB'],
    [1 << 10, 'KiB'],
    [1, 'B'],
  ] as const
  const [unit, name] = units.find(([size]) => bytes % size === 0) ?? [1, 'B']
  const text = `${bytes / unit}${name}`
  return parseSize(text) === undefined ? undefined : text
}
