/**
 * What somebody who helps wants to see of a gateway, as one JSON document: versions, configuration, findings, status, metrics and the last
 * access lines. Everything passes the redaction, and every part is bounded. What could not be had is said, and the rest is there.
 */
import { open, readFile } from 'node:fs/promises'
import { arch, cpus, platform, release, totalmem } from 'node:os'
import process from 'node:process'
import type { Config } from '../../config/config.ts'
import type { Bytes } from '../../lib/units.ts'
import { redactPath } from '../../telemetry/redact.ts'
import { type AdminAddress, askAdmin } from '../admin-client.ts'
import { version } from '../version.ts'
import { redactionFor, type Redaction } from './bundle-redaction.ts'
import { examine } from './examine.ts'

const METRICS_CHARS_MAX = 4 * 1024 * 1024
const LOG_BYTES_MAX: Bytes = 256 * 1024
const LOG_LINES_MAX = 500
/** All that our own access and attempt lines hold. Whatever else stands in that file is not ours to hand on. */
const LOG_FIELDS = [
  ...['time', 'type', 'peer', 'method', 'path', 'route', 'mode', 'status', 'tookMs', 'bytesIn', 'bytesOut', 'server', 'job', 'error'],
  ...['pool', 'attempt', 'outcome'],
]

type Environment = Readonly<Record<string, string | undefined>>

export async function supportBundle(config: Config, admin: AdminAddress, environment: Environment): Promise<Record<string, unknown>> {
  const file = config.file === undefined ? '' : await readFile(config.file, 'utf8').catch(() => '')
  const redaction = redactionFor(config, file, environment)
  const [{ findings, status }, metrics, log] = await Promise.all([
    examine(config, admin),
    askAdmin(admin, '/metrics'),
    lastLines(config, redaction),
  ])
  return {
    format: 'spillway-support-bundle 1',
    madeAt: new Date().toISOString(),
    versions: { spillway: version(), node: process.versions.node, platform: platform(), release: release(), arch: arch() },
    machine: { processors: cpus().length, memoryBytes: totalmem() },
    file: redaction.data(config.file ?? null),
    config: redaction.config(config),
    findings: redaction.data(findings),
    status: status === undefined ? null : redaction.data(status),
    metrics: redaction.metrics('wrong' in metrics ? `# ${metrics.wrong}\n` : metrics.value.slice(0, METRICS_CHARS_MAX)),
    log,
  }
}

/** Undefined members are not written. */
async function lastLines({ log, jobs }: Config, redaction: Redaction): Promise<Record<string, unknown>> {
  if (log.access === 'off' || log.access === 'stdout') return { missing: `log.access is ${log.access}` }
  if (log.accessFormat === 'text') return { missing: 'log.accessFormat is text; what is secret in lines for people cannot be told' }
  try {
    const text = await tail(log.access)
    const read = text
      .split('\n')
      .slice(-LOG_LINES_MAX - 1)
      .map((line) => readLine(line, jobs.path))
    const lines = read.filter((line) => line !== undefined)
    return { file: redaction.text(log.access), lines: redaction.data(lines) }
  } catch (error) {
    return { missing: `${redaction.text(log.access)} cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})` }
  }
}

/** The first line of it may be a part of one. */
async function tail(path: string): Promise<string> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    const length = Math.min(size, LOG_BYTES_MAX)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}

function readLine(line: string, jobsPath: string): Record<string, unknown> | undefined {
  try {
    const read: unknown = JSON.parse(line)
    if (typeof read !== 'object' || read === null) return undefined
    const known = Object.entries(read).filter(([name, value]) => LOG_FIELDS.includes(name) && typeof value !== 'object')
    return Object.fromEntries(known.map(([name, value]) => [name, name === 'path' ? redactPath(String(value), jobsPath) : value]))
  } catch {
    return undefined
  }
}
