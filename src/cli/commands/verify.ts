/** `spillway verify`: is all of a store, or of a backup, what it should be. */
import { verifyFolder } from '../../engines/embedded/offline-work.ts'
import type { Command } from '../command.ts'
import { EXIT } from '../command.ts'
import { DEFAULT_FILE, readConfigOrTell } from '../config-argument.ts'
import { byGateway, carriedOut, GATEWAY_OPTION, gatewayOf, tellReport } from '../store-folder.ts'

export const verifyCommand: Command = {
  name: 'verify',
  positionals: ['[FOLDER]'],
  summary: `Check a store or a backup: every checksum, every index, every figure, SQLite's own check. Without a folder: the store of ${DEFAULT_FILE}.`,
  details:
    'It changes nothing. A store that a gateway works on is copied and checked by that gateway, asked at its admin address; this needs room for the copy.\nExit code 1 when something is wrong; at most 100 things are told.',
  options: {
    file: { type: 'string', short: 'f', value: 'FILE', help: `of this configuration (default: ${DEFAULT_FILE})` },
    admin: GATEWAY_OPTION,
  },
  async run(args, io) {
    const [folder] = args.positionals
    const config = folder === undefined && !args.has('admin') ? await readConfigOrTell(args.text('file'), io) : undefined
    const gateway = await gatewayOf(args, io, { command: 'verify', config })
    if (typeof gateway === 'object') return byGateway(io, gateway, { kind: 'verify' }, 'sound')
    const path = folder ?? config?.store.path
    if (gateway === undefined || path === undefined) return EXIT.usage
    return carriedOut(io, 'verify', () => tellReport(io, `${path}: sound`, verifyFolder(path)))
  },
}
