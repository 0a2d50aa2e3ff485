/** `spillway restore`: a store of a backup. */
import { resolve } from 'node:path'
import { restoreBackup } from '../../engines/embedded/offline-work.ts'
import type { Command } from '../command.ts'
import { carriedOut, tellReport } from '../store-folder.ts'

export const restoreCommand: Command = {
  name: 'restore',
  positionals: ['BACKUP', 'FOLDER'],
  summary: 'Make a store of a backup, in a folder that is new or empty, and verify it. Then store.path can be this folder.',
  details:
    'Jobs that ended after the backup was made will run again. Fences and versions go on above all that the original can have given.\nNothing of a damaged backup is restored; see: spillway help salvage.',
  options: {},
  async run(args, io) {
    const [backup = '', folder = ''] = args.positionals
    const path = resolve(folder)
    return carriedOut(io, 'restore', () => tellReport(io, path, restoreBackup(backup, path, Date.now())))
  },
}
