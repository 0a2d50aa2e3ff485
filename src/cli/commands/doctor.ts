/** `spillway doctor`: what is wrong, or will be, with a configuration, the machine it is for, and the gateway that runs with it. */
import { adminOf, ADMIN_OPTION, wrongUrl } from '../admin-client.ts'
import type { Command } from '../command.ts'
import { EXIT } from '../command.ts'
import { DEFAULT_FILE, readConfigOrTell } from '../config-argument.ts'
import { examine } from '../doctor/examine.ts'
import { findingsText } from '../doctor/finding.ts'

export const doctorCommand: Command = {
  name: 'doctor',
  positionals: ['[file]'],
  summary: `Examine a configuration (default: ${DEFAULT_FILE}), this machine, and the gateway that runs here. Exit code 1 when something fails.`,
  details:
    'Looks at the store folder (and writes a small file there for a moment, to time its disk), descriptors, memory, clock, servers, and what is risky in the\nconfiguration. Run it as the user that the gateway runs as. fail: hurts now, or will at the start; warn: will some day; note: worth knowing.',
  options: {
    admin: ADMIN_OPTION,
    json: { type: 'boolean', help: 'print {ok, findings: [{check, level, says, todo}]}' },
  },
  async run(args, io) {
    const url = args.text('admin')
    const wrong = url === undefined ? undefined : wrongUrl(url)
    if (wrong !== undefined) {
      io.err(`spillway doctor: ${wrong}\n`)
      return EXIT.usage
    }
    const config = await readConfigOrTell(args.positionals[0], io)
    if (config === undefined) return EXIT.usage
    const admin = adminOf(config, io)
    const { findings } = await examine(config, url === undefined ? admin : { ...admin, url: url.replace(/\/+$/, '') })
    const ok = findings.every(({ level }) => level !== 'fail')
    io.out(args.has('json') ? `${JSON.stringify({ ok, findings }, undefined, 2)}\n` : findingsText(findings))
    return ok ? EXIT.ok : EXIT.failed
  },
}
