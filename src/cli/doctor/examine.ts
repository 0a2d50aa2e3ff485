/**
 * All checks of `doctor` over one configuration: the machine it is to run on, what it says, and the gateway that runs, if one does.
 * Takes a few seconds at most: a check that hangs (a dead network disk) is told as unknown, and the others count.
 */
import { stat } from 'node:fs/promises'
import type { AdminStatus, ConfigStatus } from '../../admin/status.ts'
import type { Config } from '../../config/config.ts'
import { isLoopback } from '../../config/fields.ts'
import type { Millis } from '../../lib/units.ts'
import { spanText } from '../../telemetry/event-text.ts'
import { type AdminAddress, askStatus } from '../admin-client.ts'
import { checkCertificates } from './certificates.ts'
import { checkClock } from './clock.ts'
import { configRisks } from './config-risks.ts'
import type { Finding } from './finding.ts'
import { checkMachine } from './machine.ts'
import { checkAddresses, checkServers } from './neighbours.ts'
import { causesOf } from './running.ts'
import { checkFolder } from './store-folder.ts'
import { checkSync } from './sync-probe.ts'

const CHECK_MS: Millis = 8000
/** A file that was written while it was read is not newer. */
const FILE_SLACK_MS: Millis = 1000

export interface Examination {
  readonly findings: readonly Finding[]
  /** What the running gateway told, if one did. */
  readonly status: AdminStatus | undefined
}

export async function examine(config: Config, admin: AdminAddress): Promise<Examination> {
  const told = await askStatus(admin)
  const status = 'wrong' in told ? undefined : told.value
  const pid = status !== undefined && isHere(admin) ? status.pid : undefined
  const isAbsent = 'wrong' in told && told.absent === true
  const checks: readonly (readonly [name: string, work: Promise<readonly Finding[]>])[] = [
    ['gateway', 'wrong' in told ? Promise.resolve([noAnswer(told.wrong, isAbsent)]) : checkRunning(told.value, config)],
    ...(isAbsent ? ([['address', checkAddresses(config)]] as const) : []),
    ...(status === undefined ? ([['servers', checkServers(config)]] as const) : []),
    ...(status === undefined ? ([['certificates', Promise.resolve(checkCertificates(config))]] as const) : []),
    ['store folder', checkFolder(config)],
    ['sync', checkSync(config)],
    ['machine', checkMachine(config, pid)],
    ['clock', checkClock()],
    ['config', Promise.resolve(configRisks(config))],
  ]
  const found = await Promise.all(checks.map(([name, work]) => within(name, work, CHECK_MS)))
  return { findings: found.flat(), status }
}

function isHere({ url }: AdminAddress): boolean {
  return isLoopback(new URL(url).hostname.replace(/^\[|\]$/g, ''))
}

function noAnswer(wrong: string, isAbsent: boolean): Finding {
  const check = 'gateway'
  if (isAbsent) return { check, level: 'note', says: `${wrong}; what follows is what one would meet` }
  return { check, level: 'fail', says: wrong, todo: 'something listens there; if it is the gateway, it hangs: docs/runbook/down.md' }
}

async function checkRunning(status: AdminStatus, config: Config): Promise<readonly Finding[]> {
  const { version, pid, uptimeMs } = status
  const runs: Finding = { check: 'gateway', level: 'ok', says: `runs: ${version}, pid ${pid}, for ${spanText(uptimeMs)}` }
  const causes = causesOf(status).map(({ check, level, says, todo }) => ({ check, level, says, ...(todo !== undefined && { todo }) }))
  return [runs, ...causes, ...(await checkFreshness(status.config as ConfigStatus | undefined, config))]
}

/** Does it run with what stands in the file now? */
async function checkFreshness(read: ConfigStatus | undefined, config: Config): Promise<readonly Finding[]> {
  if (read === undefined || config.file === undefined) return []
  const changedAt = await stat(config.file).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  )
  const laterMs = changedAt - read.readAt
  if (laterMs < FILE_SLACK_MS) return []
  const says = `${config.file} was changed ${spanText(laterMs)} after the gateway had read it: it runs with the older one`
  return [{ check: 'config', level: 'warn', says, todo: 'spillway check, then spillway reload' }]
}

/** What a check finds in time; a check that does not, or that fails itself, is a finding. */
export async function within(name: string, work: Promise<readonly Finding[]>, limitMs: Millis): Promise<readonly Finding[]> {
  const unknown = (says: string): readonly Finding[] => [{ check: name, level: 'warn', says: `unknown: ${says}` }]
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<readonly Finding[]>((resolve) => {
    timer = setTimeout(() => resolve(unknown(`no result within ${spanText(limitMs)}; the disk or the network hangs`)), limitMs)
  })
  const told = work.catch((error: unknown) => unknown(error instanceof Error ? error.message : String(error)))
  const result = await Promise.race([told, late])
  clearTimeout(timer)
  return result
}
