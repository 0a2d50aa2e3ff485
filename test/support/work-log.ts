/** What working servers write down about what they were sent, in a file that survives them. */
import { existsSync, readFileSync } from 'node:fs'

/** One request that a server began to work on. Times are microseconds of the machine's monotonic clock. */
export interface Execution {
  readonly server: string
  readonly pid: number
  readonly job: string
  readonly attempt: number
  readonly fence: number
  /** Of the gateway that sent it: the host of the URL where it takes reports; `direct` for what is no job. */
  readonly life: string
  readonly key: string | undefined
  /** In short. */
  readonly body: string
  readonly startAt: number
  /** Undefined: the server died over it. */
  readonly endAt: number | undefined
}

export type WorkLine =
  | ({ readonly kind: 'start'; readonly n: number } & Omit<Execution, 'endAt'>)
  | { readonly kind: 'end'; readonly pid: number; readonly n: number; readonly at: number }

/** Padding is told by its length. */
export function inShort(body: string): string {
  return body.replace(/x{9,}$/, (padding) => `[${padding.length}]`)
}

/** In the order in which they began. */
export function readExecutions(file: string): readonly Execution[] {
  if (!existsSync(file)) return []
  const begun = new Map<string, Execution>()
  // The last line may still be being written: of what follows the last end of a line nothing is known yet.
  for (const text of readFileSync(file, 'utf8').split('\n').slice(0, -1)) {
    const line = JSON.parse(text) as WorkLine
    const id = `${line.pid} ${line.n}`
    if (line.kind === 'start') {
      const { kind: _, n: __, ...execution } = line
      begun.set(id, { ...execution, key: execution.key, endAt: undefined })
    } else begun.set(id, { ...(begun.get(id) as Execution), endAt: line.at })
  }
  return [...begun.values()].sort((a, b) => a.startAt - b.startAt)
}
