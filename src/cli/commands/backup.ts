/** `spillway backup`: a copy of the whole store as it is at one moment, whether a gateway works on it or not. */
import { resolve } from 'node:path'
import { backupFolder } from '../../engines/embedded/offline-work.ts'
import type { Command } from '../command.ts'
import { EXIT } from '../command.ts'
import { DEFAULT_FILE, readConfigOrTell } from '../config-argument.ts'
import { byGateway, carriedOut, GATEWAY_OPTION, gatewayOf, tellReport } from '../store-folder.ts'

export const backupCommand: Command = {
  name: 'backup',
  positionals: ['FOLDER', '[file]'],
  summary: `Write a backup of the store of a configuration (default: ${DEFAULT_FILE}) to a folder that does not exist yet.`,
  details:
    'While a gateway works on the store it makes the backup itself, asked at its admin address, and goes on meanwhile; else this command does.\nThe folder has its name only when all of it is there and synced. Encrypted requests stay encrypted: keep the keys elsewhere.',
  options: {
    admin: GATEWAY_OPTION,
    store: { type: 'string', value: 'FOLDER', help: 'of this store, which no gateway works on; no configuration is read' },
  },
  async run(args, io) {
    const [folder = '', file] = args.positionals
    const target = resolve(folder)
    const named = args.text('store')
    const config = named === undefined && !args.has('admin') ? await readConfigOrTell(file, io) : undefined
    if (config?.store.engine === 'memory') {
      io.err('spillway backup: store.engine is memory: nothing is on a disk\n')
      return EXIT.failed
    }
    const gateway = await gatewayOf(args, io, { command: 'backup', config })
    if (typeof gateway === 'object') return byGateway(io, gateway, { kind: 'backup', path: target }, target)
    const path = named ?? config?.store.path
    if (gateway === undefined || path === undefined) return EXIT.usage
    return carriedOut(io, 'backup', () => tellReport(io, target, { ok: true, problems: [], ...backupFolder(path, target, Date.now()) }))
  },
}
