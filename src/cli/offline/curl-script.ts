/**
 * A backlog as a shell script that replays it with curl: nobody needs us to get their work done. It is plain text for any POSIX shell, sends one
 * job after the other in the order of the export, to the byte as a server would have got them, and stops at the first that is not taken.
 */
import { isUtf8 } from 'node:buffer'
import type { Bytes, EpochMillis } from '../../lib/units.ts'
import { type ExportedJob, withIdempotencyKey } from './exported-job.ts'

export interface ScriptParts {
  /** Where the jobs were: a folder or an admin address. */
  readonly source: string
  readonly version: string
  readonly now: EpochMillis
}

export function scriptHead({ source, version, now }: ScriptParts): string {
  return `#!/bin/sh
# Jobs of ${comment(source)}, exported ${new Date(now).toISOString()} by Spillway ${version}.
# They are sent one at a time, in the order in which they were accepted. It holds all that clients sent, credentials too: keep it private.
#   sh THIS                          send them, each to the server that stands beside it
#   TO=http://10.0.0.1:3000 sh THIS  all of them to that server
# At the first answer that is not 2xx or 3xx it stops and says how to go on. FROM=7 begins with job 7, ONLY='7 9' sends only these.
# Left out are jobs that are not due yet (LATER=1 sends them now) and jobs whose key a failed job holds (BLOCKED=1 sends them too).
set -u
LC_ALL=C
export LC_ALL
sent=0 left=''

command -v curl >/dev/null || { echo 'curl is missing' >&2; exit 2; }
[ "$(echo aGk= | base64 -d)" = hi ] || { echo 'base64 -d is missing' >&2; exit 2; }

# wanted NUMBER DUE HOLDER: DUE in seconds since 1970, 0 for at once; HOLDER: the failed job that holds its key, or nothing.
wanted() {
  [ "$1" -ge "\${FROM:-1}" ] || return 1
  if [ -n "\${ONLY:-}" ]; then case " $ONLY " in *" $1 "*) ;; *) return 1 ;; esac; fi
  if [ "$2" -gt "$(date +%s)" ] && [ -z "\${LATER:-}" ]; then echo "$1 left out: it is not due yet"; left="$left $1"; return 1; fi
  if [ -n "$3" ] && [ -z "\${BLOCKED:-}" ]; then echo "$1 left out: job $3 failed and holds its key"; left="$left $1"; return 1; fi
}

# send NUMBER SERVER METHOD TARGET, then what else curl takes; a body may come by standard input.
send() {
  number=$1 server=\${TO:-$2} method=$3 target=$4
  shift 4
  [ -n "$server" ] || { echo "$number: no server is known for its queue; name one with TO" >&2; return 1; }
  status=$(curl -q -sS -g --http1.1 --noproxy '*' --max-time "\${MAX_TIME:-3600}" -o /dev/null -w '%{http_code}' \\
    -X "$method" --request-target "$target" -H 'Expect:' "$@" "$server") || status='no answer'
  echo "$number $status"
  case $status in 2?? | 3??) ;; *) return 1 ;; esac
}

stop() {
  echo "stopped at job $1. When it is settled: FROM=$1 sh $0    Without it: FROM=$(($1 + 1)) sh $0" >&2
  exit 1
}
`
}

export function scriptTail(): string {
  return `
echo "$sent sent"
[ -z "$left" ] || { echo "left out:$left"; exit 3; }
`
}

/** `number`: in the script, from 1. `server`: URL, or empty where none is known. */
export function scriptJob(job: ExportedJob, number: number, server: string, now: EpochMillis): string {
  const { request, keyHeldBy = '' } = job
  const { method, target, body } = request
  const args = [...defaultsRemoved(request.headers), ...headerArgs(withIdempotencyKey(job))]
  const inline = body.length === 0 ? !sendsEmpty(method) : isPlain(body)
  if (body.length > 0 || sendsEmpty(method))
    args.push(inline || body.length === 0 ? `--data-raw ${quoted(text(body))}` : '--data-binary @-')
  const send = [`send ${number} ${quoted(server)} ${quoted(method)} ${quoted(target)}`, ...args].join(' \\\n    ')
  const piped = body.length > 0 && !inline
  const call = piped ? `base64 -d <<'END' | ${send} || stop ${number}\n${lines(body)}END` : `${send} || stop ${number}`
  return `
${jobComment(job, number)}
if wanted ${number} ${dueSeconds(job, now)} '${keyHeldBy}'; then
  ${call}
  sent=$((sent + 1))
fi
`
}

/** Only a client's delay; the pause after a failed attempt has served its purpose. */
function dueSeconds({ notBefore, handOuts }: ExportedJob, now: EpochMillis): number {
  return notBefore === undefined || notBefore <= now || handOuts > 0 ? 0 : Math.ceil(notBefore / 1000)
}

function jobComment(job: ExportedJob, number: number): string {
  const { id, queue, key, status, submittedAt, attempt, dead, error, redacted = [], reference } = job
  const parts = [`# ${number}  job ${id}  queue ${comment(queue)}`]
  if (key !== undefined) parts.push(`key ${comment(JSON.stringify(key))}`)
  if (reference !== undefined) parts.push(`reference ${comment(JSON.stringify(reference))}`)
  parts.push(`accepted ${new Date(submittedAt).toISOString()}`)
  const tried = attempt === 0 ? '' : ` after ${attempt} ${attempt === 1 ? 'attempt' : 'attempts'}`
  parts.push(`${status}${tried}${dead === undefined ? '' : `, dead letter: ${comment(dead)}`}`)
  if (error !== undefined) parts.push(comment(`${error.code}${error.status === undefined ? '' : ` ${error.status}`}: ${error.detail}`))
  if (redacted.length > 0) parts.push(`WITHOUT its ${comment(redacted.join(', '))}: the admin address does not show credentials`)
  return parts.join('  ')
}

/** One line, whatever it holds. */
function comment(value: string): string {
  return value.replaceAll(/[\p{Cc}\u2028\u2029]/gu, ' ')
}

/** What curl would add by itself. */
function defaultsRemoved(headers: readonly string[]): readonly string[] {
  const there = new Set(headers.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase()))
  return ['User-Agent', 'Accept', 'Content-Type'].filter((name) => !there.has(name.toLowerCase())).map((name) => `-H '${name}:'`)
}

function headerArgs(headers: readonly string[]): readonly string[] {
  const args: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const [name, value] = [headers[i] as string, headers[i + 1] as string]
    // curl takes an empty value for the wish to leave the header out, unless it ends with a semicolon.
    args.push(`-H ${quotedBytes(value === '' ? `${name};` : `${name}: ${value}`)}`)
  }
  return args
}

/** As the gateway does: servers expect to be told that a body of these is empty (RFC 9110, section 8.6). */
function sendsEmpty(method: string): boolean {
  return method === 'POST' || method === 'PUT' || method === 'PATCH'
}

/** Single quotes keep everything but themselves. */
function quoted(value: string): string {
  return `'${value.replaceAll("'", "'\\''")}'`
}

/** Header fields are Latin-1, each character a byte; the script itself stays ASCII there. */
function quotedBytes(latin1: string): string {
  if (/^[\t\x20-\x7e]*$/.test(latin1)) return quoted(latin1)
  const escaped = latin1
    .replaceAll('\\', '\\\\')
    .replaceAll(/[^\t\x20-\x7e]/g, (char) => `\\0${char.charCodeAt(0).toString(8).padStart(3, '0')}`)
  return `"$(printf %b ${quoted(escaped)})"`
}

const PLAIN_BYTES_MAX: Bytes = 4096

/** Text that people can read in the script, and no editor changes. */
function isPlain(body: Uint8Array): boolean {
  return body.length <= PLAIN_BYTES_MAX && isUtf8(body) && !/[^\P{Cc}\n\t]/u.test(text(body))
}

function text(body: Uint8Array): string {
  return Buffer.from(body.buffer, body.byteOffset, body.length).toString('utf8')
}

function lines(body: Uint8Array): string {
  const base64 = Buffer.from(body.buffer, body.byteOffset, body.length).toString('base64')
  return `${(base64.match(/.{1,76}/g) ?? []).join('\n')}\n`
}
