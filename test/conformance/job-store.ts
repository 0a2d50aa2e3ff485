/** What every engine has to do: the cases that make up the port's contract, in groups. */
import { describe, it } from 'node:test'
import { commandCases } from './job-store-commands.ts'
import { keyCases } from './job-store-keys.ts'
import { leaseCases } from './job-store-leases.ts'
import { settleCases } from './job-store-settle.ts'
import { statsCases } from './job-store-stats.ts'
import { submitCases } from './job-store-submit.ts'
import { timeCases } from './job-store-time.ts'
import { Rig, type StoreSource } from './rig.ts'

/** Name: the behaviour. */
export type Cases = Readonly<Record<string, (rig: Rig) => Promise<void>>>

export function runCases(cases: Cases, source: () => StoreSource): void {
  for (const [name, run] of Object.entries(cases)) {
    it(name, async () => {
      const rig = new Rig(source())
      try {
        await rig.open()
        await run(rig)
      } finally {
        await rig.dispose()
      }
    })
  }
}

export function jobStoreConformance(engine: string, source: () => StoreSource): void {
  const groups = {
    submit: submitCases,
    lease: leaseCases,
    keys: keyCases,
    settle: settleCases,
    commands: commandCases,
    time: timeCases,
    stats: statsCases,
  }
  for (const [group, cases] of Object.entries(groups)) describe(`${engine}: ${group}`, () => runCases(cases, source))
}
