/**
 * What a trace says about promises: whether the bytes of a job were synced before its client was told that it is accepted.
 * A job is known in the trace by a marker in its body; its 202 by its job id.
 */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'

/** One system call. `from` and `to`: where it begins and ends in the order of the trace. */
interface TracedCall {
  readonly name: string
  readonly descriptor: string
  readonly text: string
  readonly from: number
  readonly to: number
}

export interface Promised {
  readonly marker: string
  readonly job: string
}

export interface SyncReport {
  readonly syncs: number
  readonly accepted: number
  /** What was said too early, in words. */
  readonly violations: readonly string[]
}

const CALLS = 'fsync,fdatasync,pwrite64,pwritev,write,writev,sendto,sendmsg'
const SYNCS: ReadonlySet<string> = new Set(['fsync', 'fdatasync'])

/** The tracer as a prefix of a command. Strings are long enough for a page of the store and for the answers of one write. */
export function syncTracer(output: string): readonly string[] {
  return ['strace', '-f', '-y', '-s', '65536', '--seccomp-bpf', '-e', `trace=${CALLS}`, '-e', 'signal=none', '-o', output]
}

export async function readTrace(output: string): Promise<readonly string[]> {
  const lines: string[] = []
  for await (const line of createInterface({ input: createReadStream(output), crlfDelay: Number.POSITIVE_INFINITY })) lines.push(line)
  return lines
}

function* calls(lines: readonly string[]): Generator<TracedCall> {
  const unfinished = new Map<string, { readonly text: string; readonly from: number }>()
  for (const [at, line] of lines.entries()) {
    const [, pid = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    if (rest.endsWith('<unfinished ...>')) {
      unfinished.set(pid, { text: rest, from: at })
      continue
    }
    const resumed = /^<\.\.\. \w+ resumed>/.test(rest)
    const begun = resumed ? unfinished.get(pid) : { text: '', from: at }
    const text = (begun?.text ?? '') + rest
    const [, name = '', descriptor = ''] = /^(\w+)\(\d+<([^>]*)>/.exec(text) ?? []
    // What failed wrote and synced nothing.
    if (name !== '' && /\) += \d+$/.test(rest)) yield { name, descriptor, text, from: begun?.from ?? at, to: at }
  }
}

/** Checks every promise against the trace of the process that gave it. `store`: the folder of its store. */
export function checkSyncs(lines: readonly string[], store: string, promised: readonly Promised[]): SyncReport {
  const writes: TracedCall[] = []
  const syncs: TracedCall[] = []
  const answers: TracedCall[] = []
  for (const call of calls(lines)) {
    if (call.descriptor.startsWith('socket:') || call.descriptor.startsWith('TCP:')) {
      if (call.text.includes('202 Accepted')) answers.push(call)
    } else if (call.descriptor.startsWith(store)) (SYNCS.has(call.name) ? syncs : writes).push(call)
  }
  const violations = promised.flatMap(({ marker, job }) => {
    const answer = answers.find(({ text }) => text.includes(`Spillway-Job: ${job}`))
    if (answer === undefined) return [`the 202 of job ${job} is not in the trace`]
    const write = writes.find(({ text }) => text.includes(marker))
    if (write === undefined || write.to > answer.from) return [`job ${job} was accepted before it was written`]
    const synced = syncs.some(({ descriptor, from, to }) => descriptor === write.descriptor && from > write.to && to < answer.from)
    return synced ? [] : [`job ${job} was accepted before it was synced`]
  })
  return { syncs: syncs.length, accepted: promised.length, violations }
}
