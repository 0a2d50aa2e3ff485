/** `spillway bench`: what the store gives on this machine's disk, for capacity planning. */
import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Config } from '../../config/config.ts'
import { StoreOpenError } from '../../engines/embedded/store-open-error.ts'
import { parseDuration } from '../../lib/duration.ts'
import { parseSize } from '../../lib/size.ts'
import type { Bytes } from '../../lib/units.ts'
import { spanText } from '../../telemetry/event-text.ts'
import { type BenchResult, runBench } from '../bench.ts'
import { type Arguments, type Command, complain, EXIT, type ExitCode, type Io } from '../command.ts'
import { DEFAULT_FILE, readConfigOrTell } from '../config-argument.ts'
import { latencyText, sizeText } from '../doctor/finding.ts'
import { existingFolder } from '../doctor/store-folder.ts'
import { JSON_OPTION, QUEUE_OPTION } from '../queue-api.ts'
import { shown, table } from '../words.ts'

const MIB: Bytes = 1024 * 1024
const BYTES_MAX: Bytes = 512 * MIB
/** Left alone on the disk, beside what is written. */
const RESERVE_BYTES: Bytes = 64 * MIB
const BODY_MAX: Bytes = 16 * MIB
const SPAN_MAX_MS = 60_000
const IN_FLIGHT_MAX = 10_000

export const benchCommand: Command = {
  name: 'bench',
  positionals: ['[file]'],
  summary:
    'Measure the store on this disk for some seconds: durable submissions, whole lives, syncs, bytes of a job. Cleans up after itself.',
  details: `Works in a new folder next to the store that the configuration names (default: ${DEFAULT_FILE}), or below --path. It has no sockets and no servers:
a gateway gives at most this. It writes at most ${BYTES_MAX / MIB} MiB, and competes with a gateway that runs on the same disk.`,
  options: {
    queue: { ...QUEUE_OPTION, help: 'say what the limits of this queue mean for the disk' },
    path: { type: 'string', value: 'FOLDER', help: 'an existing folder on the disk to measure; then no configuration is needed' },
    body: { type: 'string', value: 'SIZE', help: 'of a request (default: 1KiB, at most 16MiB)' },
    'in-flight': { type: 'string', value: 'N', help: 'clients at once (default: 200)' },
    span: { type: 'string', value: 'SPAN', help: 'how long to measure (default: 5s, at most 60s)' },
    json: JSON_OPTION,
  },
  async run(args, io) {
    const asked = readAsked(args)
    if (typeof asked === 'string') return complain(io, 'bench', asked, EXIT.usage)
    const path = args.text('path')
    const needsConfig = path === undefined || args.has('queue') || args.positionals.length > 0
    const config = needsConfig ? await readConfigOrTell(args.positionals[0], io) : undefined
    if (needsConfig && config === undefined) return EXIT.usage
    const queue = args.text('queue')
    if (queue !== undefined && config?.queues.every(({ name }) => name !== queue) === true) {
      return complain(io, 'bench', `queue ${shown(queue)} is not in the configuration`, EXIT.usage)
    }
    const folder = await existingFolder(path ?? dirname(config?.store.path ?? '.'))
    if (path !== undefined && folder !== path) return complain(io, 'bench', `--path ${path} is not there`, EXIT.usage)
    return await bench({ ...asked, folder }, { args, io, config })
  },
}

interface Asked {
  readonly bodyBytes: Bytes
  readonly inFlight: number
  readonly phaseMs: number
}

function readAsked(args: Arguments): Asked | string {
  const bodyBytes = parseSize(args.text('body') ?? '1KiB')
  if (bodyBytes === undefined || bodyBytes > BODY_MAX) return '--body must be a size such as 4KiB, at most 16MiB'
  const spanMs = parseDuration(args.text('span') ?? '5s')
  if (spanMs === undefined || spanMs < 100 || spanMs > SPAN_MAX_MS) return '--span must be a span such as 5s, at most 60s'
  const inFlight = Number(args.text('in-flight') ?? 200)
  if (!Number.isInteger(inFlight) || inFlight < 1 || inFlight > IN_FLIGHT_MAX)
    return `--in-flight must be a number from 1 to ${IN_FLIGHT_MAX}`
  return { bodyBytes, inFlight, phaseMs: spanMs / 2 }
}

interface Parts {
  readonly args: Arguments
  readonly io: Io
  readonly config: Config | undefined
}

async function bench(asked: Asked & { readonly folder: string }, { args, io, config }: Parts): Promise<ExitCode> {
  const { bavail, bsize } = await statfs(asked.folder)
  const free = bavail * bsize
  // The log holds everything once more.
  const bytesMax = Math.min(BYTES_MAX, (free - RESERVE_BYTES) / 2)
  if (bytesMax < 16 * MIB) return complain(io, 'bench', `${asked.folder} has only ${sizeText(free)} free`)
  const encryption = config?.store.encryption
  let result: BenchResult
  try {
    result = await runBench({
      ...asked,
      bytesMax,
      store: { diskFloorBytes: RESERVE_BYTES / 2, ...(encryption !== undefined && { encryption }) },
    })
  } catch (error) {
    if (!(error instanceof Error)) throw error
    return complain(io, 'bench', error instanceof StoreOpenError ? error.message : `${asked.folder}: ${error.message}`)
  }
  if (args.has('json')) io.out(`${JSON.stringify({ folder: asked.folder, freeBytes: free, ...result }, undefined, 2)}\n`)
  else
    io.out(
      resultText(
        asked.folder,
        free,
        result,
        config?.queues.find(({ name }) => name === args.text('queue')),
      ),
    )
  return EXIT.ok
}

function resultText(folder: string, free: Bytes, result: BenchResult, queue: Config['queues'][number] | undefined): string {
  const { submits, lives, syncs, bytesPerJob, bodyBytes, inFlight } = result
  const rows = [
    ['folder', `${folder}, ${sizeText(free)} free`],
    ['load', `${inFlight} clients at once, bodies of ${sizeText(bodyBytes)}`],
    ['durable submits', `${submits.perSecond}/s  (${submits.jobs} jobs)`],
    ['whole lives', `${lives.perSecond}/s  (${lives.jobs} jobs: submitted, handed out, settled)`],
    [
      'one sync',
      `median ${latencyText(syncs.medianMs)}, p99 ${latencyText(syncs.p99Ms)}, worst ${latencyText(syncs.worstMs)}; ${syncs.operationsPerSync} operations share one`,
    ],
    ['a waiting job', `${sizeText(bytesPerJob)} on the disk`],
    ['the free space', `${Math.floor(free / Math.max(1, bytesPerJob))} such jobs`],
  ]
  if (queue !== undefined) {
    const { limits, name } = queue
    const needed = Math.min(limits.jobs * bytesPerJob, (limits.bytes * bytesPerJob) / Math.max(1, bodyBytes)) + limits.finished
    rows.push([
      `queue ${shown(name)}`,
      `may need ${sizeText(needed)} at its limits${needed > free ? ': more than is free' : ''}; a full line of ${limits.jobs} jobs takes ${spanText((limits.jobs * 1000) / Math.max(1, lives.perSecond))} at this rate`,
    ])
  }
  return `${table(rows).join('\n')}\n\nan upper bound: a gateway adds HTTP on both sides, and servers their work\n`
}
