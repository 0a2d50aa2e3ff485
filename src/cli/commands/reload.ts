/** `spillway reload`: a running gateway reads its configuration again, and says what came of it. */
import { isMapping } from '../../lib/mapping.ts'
import { ADMIN_OPTION, findAdmin, TOKEN_VARIABLE } from '../admin-client.ts'
import { type Command, complain, EXIT } from '../command.ts'
import { DEFAULT_FILE } from '../config-argument.ts'
import { JSON_OPTION, QueueApi } from '../queue-api.ts'

export const reloadCommand: Command = {
  name: 'reload',
  positionals: ['[file]'],
  summary: `Let a running gateway read its configuration again (default: ${DEFAULT_FILE}). No request is dropped; a wrong file changes nothing.`,
  details: `The same as SIGHUP, with an answer. At once hold: routes, queues, schedules, topics, webhooks, cors, keys and sizes of api, jobs, drainTimeout and pools with\ntheir servers: what is taken out of a pool gets nothing new, and ends what it has. Everything else needs a restart, stays as it was, and is named. Without a file, --admin names the address, and the token is read from\nthe variable ${TOKEN_VARIABLE}.`,
  options: { admin: ADMIN_OPTION, json: { ...JSON_OPTION, help: 'print {readAt, needsRestart}' } },
  async run(args, io) {
    const admin = await findAdmin(args, io, 'reload')
    if (admin === undefined) return EXIT.usage
    const told = await new QueueApi(admin).post('reload')
    if ('wrong' in told) return complain(io, 'reload', told.wrong)
    const { text, document } = told.value
    const keys: unknown = isMapping(document) ? document['needsRestart'] : undefined
    const later = Array.isArray(keys) && keys.length > 0 ? `; only after a restart: ${keys.map(String).join(', ')}` : ''
    io.out(args.has('json') ? `${text}\n` : `the configuration was read again and holds from now on${later}\n`)
    return EXIT.ok
  },
}
