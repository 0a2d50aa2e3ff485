/** Runs a program under strace and gives what it did to files, in order and with all bytes. */
import { spawn, spawnSync } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'

export type FileEvent =
  | { readonly kind: 'create'; readonly path: string; readonly truncate: boolean }
  /** `offset` -1: where the last write to it ended. */
  | { readonly kind: 'write'; readonly path: string; readonly offset: number; readonly data: Buffer }
  | { readonly kind: 'truncate'; readonly path: string; readonly size: number }
  | { readonly kind: 'sync'; readonly path: string }
  | { readonly kind: 'unlink'; readonly path: string }

/** Why it cannot be used here; undefined: it can. */
export function straceProblem(): string | undefined {
  const probe = spawnSync('strace', ['-f', '-e', 'trace=none', '-o', '/dev/null', 'true'])
  if (probe.error !== undefined) return 'strace is not installed (Debian package strace)'
  return probe.status === 0 ? undefined : 'strace may not trace processes here'
}

const CALLS = 'openat,pwrite64,write,ftruncate,fsync,fdatasync,unlink'
/** Longer than any single write of the store. */
const STRING_MAX = 1_200_000

/** What a program of ours, run to its end, did to the files below `folder`/run. */
export async function tracedRun(command: readonly string[], folder: string): Promise<readonly FileEvent[]> {
  const trace = join(folder, 'trace')
  await traced(command, trace, { ...process.env, NODE_OPTIONS: '' })
  const events: FileEvent[] = []
  for await (const event of fileEvents(trace, join(folder, 'run', ''))) events.push(event)
  return events
}

export async function traced(command: readonly string[], output: string, env: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn(
    'strace',
    ['-f', '-y', '-xx', '-s', String(STRING_MAX), '-e', `trace=${CALLS}`, '-e', 'signal=none', '-o', output, ...command],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
      env,
    },
  )
  const code = await new Promise<number | null>((done) => child.on('exit', done))
  if (code !== 0) throw new Error(`the traced program ended with ${code}`)
}

/** Only of files below `folder`. Calls that were interrupted in the listing count from where they ended. */
export async function* fileEvents(output: string, folder: string): AsyncGenerator<FileEvent> {
  const unfinished = new Map<string, string>()
  for await (const line of createInterface({ input: createReadStream(output), crlfDelay: Number.POSITIVE_INFINITY })) {
    const [, pid = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    if (text.endsWith('<unfinished ...>')) {
      unfinished.set(pid, text.slice(0, -'<unfinished ...>'.length))
      continue
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(text)
    const event = parse(resumed === null ? text : (unfinished.get(pid) ?? '') + resumed[1])
    if (event?.path.startsWith(folder)) yield event
  }
}

function parse(call: string): FileEvent | undefined {
  const name = call.slice(0, call.indexOf('('))
  if (!/= \d/.test(call.slice(call.lastIndexOf(')')))) return undefined
  switch (name) {
    case 'openat': {
      const [, path = ''] = /^openat\([^"]*"([^"]*)"/.exec(call) ?? []
      const flags = call.slice(call.lastIndexOf('"'))
      return flags.includes('O_CREAT') ? { kind: 'create', path: resolve(text(path)), truncate: flags.includes('O_TRUNC') } : undefined
    }
    case 'pwrite64':
    case 'write': {
      const start = call.indexOf('"')
      const end = call.lastIndexOf('"')
      if (start < 0 || call.startsWith('...', end + 1)) throw new Error(`strace cut a write short: ${call.slice(0, 200)}`)
      const data = bytes(call.slice(start + 1, end))
      const [, length, offset = '-1'] = /^, (\d+)(?:, (\d+))?\s*\)/.exec(call.slice(end + 1)) ?? []
      if (Number(length) !== data.length) throw new Error(`strace listed ${data.length} bytes of ${length}`)
      return { kind: 'write', path: descriptorPath(call), offset: Number(offset), data }
    }
    case 'ftruncate':
      return { kind: 'truncate', path: descriptorPath(call), size: Number(/, (\d+)\s*\)/.exec(call)?.[1]) }
    case 'fsync':
    case 'fdatasync':
      return { kind: 'sync', path: descriptorPath(call) }
    case 'unlink':
      return { kind: 'unlink', path: resolve(text(/"([^"]*)"/.exec(call)?.[1] ?? '')) }
    default:
      return undefined
  }
}

/** `pwrite64(22</path>, …`: what the descriptor stands for. */
function descriptorPath(call: string): string {
  const from = call.indexOf('<')
  return text(call.slice(from + 1, call.indexOf('>', from)))
}

function text(escaped: string): string {
  return escaped.includes('\\x') ? bytes(escaped).toString() : escaped
}

function bytes(escaped: string): Buffer {
  return Buffer.from(escaped.replaceAll('\\x', ''), 'hex')
}
