/** `spillway salvage`: a new store of what can still be read of a damaged one. */
import { resolve } from 'node:path'
import { salvage } from '../../engines/embedded/salvage.ts'
import type { Command } from '../command.ts'
import { EXIT } from '../command.ts'
import { carriedOut } from '../store-folder.ts'

export const salvageCommand: Command = {
  name: 'salvage',
  positionals: ['FOLDER', 'NEW_FOLDER'],
  summary: 'Make a new store of what can still be read of a damaged one (or of a damaged backup), and tell what is lost.',
  details:
    'The damaged folder is not changed. Only what passes its checksum is taken over. A job may come back as it was some moments before the damage.\nExit code 1 when something is lost.',
  options: { quarantine: { type: 'boolean', help: 'take over jobs that were put aside, where their records are sound' } },
  async run(args, io) {
    const [from = '', to = ''] = args.positionals
    return carriedOut(io, 'salvage', () => {
      const path = resolve(to)
      const { saved, lost, problems } = salvage(from, path, { quarantine: args.has('quarantine'), now: Date.now() })
      for (const problem of problems) io.err(`${problem}\n`)
      for (const id of lost) io.err(`lost: job ${id}\n`)
      io.out(`${path}: ${saved} ${saved === 1 ? 'job' : 'jobs'} saved, ${lost.length} lost\n`)
      return lost.length === 0 && problems.length === 0 ? EXIT.ok : EXIT.failed
    })
  },
}
