/** What every engine has to do: the cases that make up the port's contract, in groups. */
import { describe, it } from 'node:test'
import { admissionCases } from './job-store-admission.ts'
import { blockedKeyCases } from './job-store-blocked-keys.ts'
import { blobCases, blobRestartCases } from './job-store-blobs.ts'
import { browseCases } from './job-store-browse.ts'
import { commandCases } from './job-store-commands.ts'
import { deadlineCases } from './job-store-deadline.ts'
import { deadLetterCases } from './job-store-dead-letters.ts'
import { followUpCases } from './job-store-follow-ups.ts'
import { deferCases, deferRestartCases } from './job-store-defer.ts'
import { keyCases } from './job-store-keys.ts'
import { leaseCases } from './job-store-leases.ts'
import { orderCases } from './job-store-order.ts'
import { overflowCases } from './job-store-overflow.ts'
import { queueCases } from './job-store-queues.ts'
import { rateCases } from './job-store-rates.ts'
import { restartCases } from './job-store-restart.ts'
import { scheduleCases } from './job-store-schedules.ts'
import { settleCases } from './job-store-settle.ts'
import { sidelineCases } from './job-store-sideline.ts'
import { statsCases } from './job-store-stats.ts'
import { submitCases } from './job-store-submit.ts'
import { taskCases } from './job-store-tasks.ts'
import { tenantCases } from './job-store-tenants.ts'
import { timeCases } from './job-store-time.ts'
import { wholeCases } from './job-store-whole.ts'
import { Rig, type StoreSource } from './rig.ts'

/** Name: the behaviour. */
export type Cases = Readonly<Record<string, (rig: Rig) => Promise<void>>>

export function runCases(cases: Cases, source: () => StoreSource): void {
  for (const [name, run] of Object.entries(cases)) it(name, () => runCase(run, source))
}

async function runCase(run: Cases[string], source: () => StoreSource): Promise<void> {
  const rig = new Rig(source())
  try {
    await rig.open()
    await run(rig)
  } finally {
    await rig.dispose()
  }
}

/** By group; `restart` is for engines that outlive their process. */
const GROUPS = {
  submit: submitCases,
  'submit together': wholeCases,
  admission: admissionCases,
  lease: leaseCases,
  keys: keyCases,
  settle: settleCases,
  blobs: blobCases,
  defer: deferCases,
  commands: commandCases,
  time: timeCases,
  stats: statsCases,
  'follow-ups': followUpCases,
  'dead letters': deadLetterCases,
  'blocked keys': blockedKeyCases,
  tenants: tenantCases,
  rates: rateCases,
  overflow: overflowCases,
  deadline: deadlineCases,
  order: orderCases,
  sideline: sidelineCases,
  schedules: scheduleCases,
  tasks: taskCases,
  browse: browseCases,
  queues: queueCases,
  restart: { ...restartCases, ...blobRestartCases, ...deferRestartCases },
} as const satisfies Readonly<Record<string, Cases>>

export type Group = keyof typeof GROUPS

/** All that an engine has to pass. */
export function groupsFor(durable: boolean): readonly Group[] {
  return (Object.keys(GROUPS) as Group[]).filter((group) => durable || group !== 'restart')
}

export function jobStoreConformance(engine: string, source: () => StoreSource, groups: readonly Group[]): void {
  for (const group of groups) describe(`${engine}: ${group}`, () => runCases(GROUPS[group], source))
}

/** The names of all cases that fail. */
export async function failures(source: () => StoreSource, groups: readonly Group[]): Promise<readonly string[]> {
  const failed: string[] = []
  for (const [name, run] of groups.flatMap((group) => Object.entries<Cases[string]>(GROUPS[group]))) {
    await runCase(run, source).catch(() => failed.push(name))
  }
  return failed
}
