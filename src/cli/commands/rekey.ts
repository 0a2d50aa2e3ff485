/** `spillway rekey`: everything encrypted with the first key, so that the others can be forgotten. */
import { rekey } from '../../engines/embedded/rekey.ts'
import { Sealer } from '../../engines/ledger/sealed.ts'
import { systemRandom } from '../../ports/system.ts'
import type { Command } from '../command.ts'
import { EXIT } from '../command.ts'
import { DEFAULT_FILE, readConfigOrTell } from '../config-argument.ts'
import { carriedOut } from '../store-folder.ts'

export const rekeyCommand: Command = {
  name: 'rekey',
  positionals: ['[file]'],
  summary: `Encrypt all stored requests and answers with the first key of store.encryption.keys (default: ${DEFAULT_FILE}). No gateway may work on the store.`,
  details:
    'The other keys can be taken out of the configuration afterwards. Broken off, it is begun again. What had no key before gets one.',
  options: {},
  async run(args, io) {
    const config = await readConfigOrTell(args.positionals[0], io)
    if (config === undefined) return EXIT.usage
    const { path, encryption } = config.store
    if (encryption === undefined) {
      io.err('spillway rekey: the configuration has no store.encryption.keys\n')
      return EXIT.usage
    }
    return carriedOut(io, 'rekey', () => {
      const { changed, problems } = rekey(path, new Sealer(encryption.keys, systemRandom), encryption.keys)
      for (const problem of problems) io.err(`${problem}\n`)
      io.out(`${path}: ${changed} encrypted anew${problems.length === 0 ? '' : `; ${problems.length} not, so no key may be forgotten`}\n`)
      return problems.length === 0 ? EXIT.ok : EXIT.failed
    })
  },
}
