/**
 * `spillway jobs export`: the backlog as NDJSON or as a curl script, from a running gateway or, with `--offline`, from the folder of one that is
 * stopped. Nobody is locked in.
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import type { Config } from '../../config/config.ts'
import { JOB_STATUSES } from '../../core/jobs/record.ts'
import { openOffline } from '../../engines/embedded/offline.ts'
import { StoreOpenError } from '../../engines/embedded/store-open-error.ts'
import { hostPortText } from '../../lib/host-port.ts'
import { isMapping } from '../../lib/mapping.ts'
import type { Bytes, EpochMillis } from '../../lib/units.ts'
import { type Arguments, type Command, complain, EXIT, type ExitCode, type Io } from '../command.ts'
import { DEFAULT_FILE, readConfigOrTell } from '../config-argument.ts'
import { scriptHead, scriptJob, scriptTail } from '../offline/curl-script.ts'
import type { ExportedJob } from '../offline/exported-job.ts'
import { jobLine } from '../offline/ndjson.ts'
import { onlineJobs } from '../offline/online-jobs.ts'
import { listOf, textOf } from '../job-facts.ts'
import { connect, CONNECTION_OPTIONS, QUEUE_OPTION, type QueueApi, segment } from '../queue-api.ts'
import { plural, shown } from '../words.ts'
import { version } from '../version.ts'
import { DEAD_OPTION, queuesFor } from './jobs-list.ts'

const BACKLOG = 'queued,running,retrying'
/** Written, and not yet taken by whoever reads. */
const PENDING_MAX: Bytes = 1024 * 1024

export const exportJobs: Command = {
  name: 'jobs export',
  positionals: ['[file]'],
  summary: 'The backlog as NDJSON, or as a shell script that sends it with curl; with --offline from the store of a stopped gateway.',
  details: `--offline reads the store folder that the configuration names (default: ${DEFAULT_FILE}) and changes nothing in it; jobs stand there as the next start
would find them. Without it a running gateway is asked: then credentials in headers are left out, header names are in lower case, JSON bodies are
written anew. Encrypted requests are opened with the keys of the configuration. Lines of NDJSON can be sent again to POST /api/queues/<queue>/jobs, twice without making two jobs. The output holds what clients sent.`,
  options: {
    ...CONNECTION_OPTIONS,
    offline: { type: 'boolean', help: 'read the store folder; the gateway must be stopped' },
    format: { type: 'string', value: 'curl|ndjson', help: 'what to write (default: ndjson)' },
    queue: QUEUE_OPTION,
    status: { type: 'string', value: 'STATUS', help: `several by comma (default: ${BACKLOG})` },
    dead: { ...DEAD_OPTION, help: 'dead letters instead of the backlog; of one reason: attempts, expired, …' },
    path: { type: 'string', value: 'FOLDER', help: 'with --offline: a store folder, instead of that of the configuration' },
    to: { type: 'string', value: 'URL', help: "curl: the server to send to (default: the first of the queue's pool)" },
    out: { type: 'string', value: 'PATH', help: 'a new file, readable for you alone (default: standard output)' },
  },
  async run(args, io) {
    const wanted = readWanted(args)
    if (typeof wanted === 'string') return complain(io, 'jobs export', wanted, EXIT.usage)
    return wanted.offline ? await exportOffline(wanted, args, io) : await exportOnline(wanted, args, io)
  },
}

interface Wanted {
  readonly offline: boolean
  readonly format: 'curl' | 'ndjson'
  readonly queue: string | undefined
  readonly statuses: ReadonlySet<string>
  readonly dead: string | undefined
  readonly to: string | undefined
  readonly out: string | undefined
}

/** Or what is wrong. */
function readWanted(args: Arguments): Wanted | string {
  const format = args.text('format') ?? 'ndjson'
  if (format !== 'curl' && format !== 'ndjson') return `--format must be curl or ndjson, not ${JSON.stringify(format)}`
  const dead = args.text('dead')
  const statuses = (args.text('status') ?? (dead === undefined ? BACKLOG : JOB_STATUSES.join())).split(',')
  const unknown = statuses.find((status) => !JOB_STATUSES.some((each) => each === status))
  if (unknown !== undefined) return `--status ${JSON.stringify(unknown)} is none; there are ${JOB_STATUSES.join(', ')}`
  const to = args.text('to')
  if (to !== undefined && !/^https?:\/\/[^/?#@\s]+\/?$/.test(to))
    return `--to must be a server such as http://127.0.0.1:3000, not ${JSON.stringify(to)}`
  const offline = args.has('offline')
  if (!offline && args.has('path')) return '--path has no meaning without --offline'
  return {
    offline,
    format,
    queue: args.text('queue'),
    statuses: new Set(statuses),
    dead,
    to: to?.replace(/\/$/, ''),
    out: args.text('out'),
  }
}

async function exportOffline(wanted: Wanted, args: Arguments, io: Io): Promise<ExitCode> {
  const folder = args.text('path')
  // With a folder and a server nothing else is needed: the configuration may be lost.
  const config =
    folder !== undefined && wanted.to !== undefined ? undefined : await readConfigOrTell(args.positionals[0] ?? args.text('file'), io)
  if (config === undefined && (folder === undefined || wanted.to === undefined)) return EXIT.usage
  if (folder === undefined && config?.store.engine === 'memory')
    return complain(io, 'jobs export', 'store.engine is memory: nothing of it is on a disk')
  const now = Date.now()
  const path = folder ?? config?.store.path ?? ''
  try {
    const keys = config?.store.encryption?.keys
    const store = openOffline({ path, now, ...(keys !== undefined && { keys }) })
    try {
      const writer = new Writer(wanted, { io, config, now, source: path })
      const left: Left = { unknown: 0, unreadable: 0 }
      const written = await writer.all(offlineJobs(store.jobs(), wanted, left))
      if (typeof written === 'string') return complain(io, 'jobs export', written)
      for (const problem of store.problems) io.err(`spillway jobs export: ${problem}\n`)
      if (store.hasChanged())
        return complain(io, 'jobs export', `${path} was written to meanwhile: a gateway works on it, so this is not a whole export`)
      tellLeft(left, io)
      return store.problems.length > 0 ? EXIT.failed : EXIT.ok
    } finally {
      store.close()
    }
  } catch (error) {
    if (error instanceof StoreOpenError) return complain(io, 'jobs export', error.message)
    throw error
  }
}

interface Left {
  /** Ran when the gateway was killed and must not run twice. */
  unknown: number
  unreadable: number
}

function* offlineJobs(jobs: ReturnType<ReturnType<typeof openOffline>['jobs']>, wanted: Wanted, left: Left): Iterable<ExportedJob> {
  const { queue, statuses, dead } = wanted
  for (const { request: read, ...job } of jobs) {
    if (queue !== undefined && job.queue !== queue) continue
    if (job.dead === 'outcome_unknown' && dead === undefined && !statuses.has(job.status)) left.unknown += 1
    if (!statuses.has(job.status) || (dead !== undefined && (dead === 'true' ? job.dead === undefined : job.dead !== dead))) continue
    const request = read()
    if (request === undefined) left.unreadable += 1
    else yield { ...job, request }
  }
}

function tellLeft({ unknown, unreadable }: Left, io: Io): void {
  if (unreadable > 0) io.err(`spillway jobs export: ${plural(unreadable, 'job')} left out: their requests are not kept any more\n`)
  if (unknown > 0) {
    io.err(
      `spillway jobs export: ${plural(unknown, 'job')} left out: a server may have done them already and they are not safe to repeat; --dead=outcome_unknown shows them\n`,
    )
  }
}

async function exportOnline(wanted: Wanted, args: Arguments, io: Io): Promise<ExitCode> {
  const file = args.positionals[0] ?? args.text('file')
  const api = await connect(args, io, 'jobs export', file)
  if (api === undefined) return EXIT.usage
  const needsServers = wanted.format === 'curl' && wanted.to === undefined
  const config = needsServers ? await readConfigOrTell(file, io) : undefined
  if (needsServers && config === undefined) return EXIT.usage
  const queues = await queuesFor(api, wanted.queue)
  if ('wrong' in queues) return complain(io, 'jobs export', queues.wrong)
  const { statuses, dead } = wanted
  const now = Date.now()
  const writer = new Writer(wanted, { io, config, now, source: api.admin.url })
  const told = { wrong: '', redacted: 0 }
  const query = { status: dead === undefined || args.has('status') ? [...statuses].join() : undefined, dead }
  const written = await writer.all(
    onlineJobs(
      queues,
      {
        page: (queue, after) => api.get(`queues/${segment(queue)}/jobs`, { ...query, after, include: 'request' }),
        blockedKeys: (queue) => blockedKeys(api, queue),
      },
      told,
    ),
  )
  if (typeof written === 'string') return complain(io, 'jobs export', written)
  if (told.wrong !== '') return complain(io, 'jobs export', `${told.wrong}; what was written is not the whole`)
  if (told.redacted > 0) {
    io.err(
      `spillway jobs export: ${plural(told.redacted, 'job')} without credentials, which the admin address does not show; --offline has them\n`,
    )
  }
  return EXIT.ok
}

/** As many as a page has: an export says what it knows. */
async function blockedKeys(api: QueueApi, queue: string): Promise<ReadonlyMap<string, string>> {
  const told = await api.get(`queues/${segment(queue)}/keys`, { blocked: 'true', limit: '1000' })
  if ('wrong' in told) return new Map()
  const keys = listOf(told.value.document, 'keys', (value) =>
    isMapping(value) ? ([textOf(value['key']), textOf(value['holder'])] as const) : undefined,
  )
  return new Map(keys.filter((pair): pair is readonly [string, string] => pair[0] !== undefined && pair[1] !== undefined))
}

interface WriterParts {
  readonly io: Io
  /** Undefined: `--to` says where all go. */
  readonly config: Config | undefined
  readonly now: EpochMillis
  readonly source: string
}

class Writer {
  readonly #wanted: Wanted
  readonly #parts: WriterParts
  readonly #withoutServer = new Set<string>()

  constructor(wanted: Wanted, parts: WriterParts) {
    this.#wanted = wanted
    this.#parts = parts
  }

  /** How many, or why not. */
  async all(jobs: Iterable<ExportedJob> | AsyncIterable<ExportedJob>): Promise<number | string> {
    const { out } = this.#wanted
    let file: number | undefined
    try {
      if (out !== undefined) file = openSync(out, 'wx', 0o600)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      return `${out} ${code === 'EEXIST' ? 'is there already; nothing was written' : `cannot be written (${code ?? String(error)})`}`
    }
    try {
      const count = await this.#write(jobs, file)
      if (file !== undefined) fsyncSync(file)
      this.#parts.io.err(`spillway jobs export: ${plural(count, 'job')}${out === undefined ? '' : ` written to ${out}`}\n`)
      for (const queue of this.#withoutServer)
        this.#parts.io.err(`spillway jobs export: no server is configured for queue ${shown(queue)}; run the script with TO=http://…\n`)
      return count
    } catch (error) {
      const { code, syscall } = error as NodeJS.ErrnoException
      if (code === undefined || syscall === undefined) throw error
      return `${out ?? 'standard output'} cannot be written (${code})`
    } finally {
      if (file !== undefined) closeSync(file)
    }
  }

  async #write(jobs: Iterable<ExportedJob> | AsyncIterable<ExportedJob>, file: number | undefined): Promise<number> {
    const { io, now, source } = this.#parts
    const curl = this.#wanted.format === 'curl'
    let pending = 0
    const write = async (text: string): Promise<void> => {
      if (file !== undefined) return writeAll(file, text)
      io.out(text)
      pending += text.length
      if (pending < PENDING_MAX) return
      pending = 0
      await io.flush?.()
    }
    let count = 0
    if (curl) await write(scriptHead({ source, version: version(), now }))
    for await (const job of jobs) {
      count += 1
      await write(curl ? scriptJob(job, count, this.#serverOf(job.queue), now) : jobLine(job, now))
    }
    if (curl) await write(scriptTail())
    return count
  }

  /** Empty: none is known. */
  #serverOf(queue: string): string {
    const { to } = this.#wanted
    if (to !== undefined) return to
    const { config } = this.#parts
    const pool = config?.queues.find(({ name }) => name === queue)?.pool
    const server = config?.pools.find(({ name }) => name === pool)?.servers[0]
    if (server === undefined) {
      this.#withoutServer.add(queue)
      return ''
    }
    return `http://${hostPortText(server)}`
  }
}

function writeAll(file: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
}
