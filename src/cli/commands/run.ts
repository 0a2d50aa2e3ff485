/** `spillway run`: the gateway of a configuration file. */
import type { Command } from '../command.ts'
import { EXIT } from '../command.ts'
import { DEFAULT_FILE, readConfigOrTell } from '../config-argument.ts'
import { serve } from '../serve.ts'

export const runCommand: Command = {
  name: 'run',
  positionals: ['[file]'],
  summary: `Run the gateway of a configuration (default: ${DEFAULT_FILE}).`,
  details:
    'SIGTERM or SIGINT drains and exits 0; a second one exits at once. Exit code 1: failed while starting or running; 2: the configuration is wrong.',
  options: {},
  async run(args, io) {
    const config = await readConfigOrTell(args.positionals[0], io)
    return config === undefined ? EXIT.usage : await serve(config, io)
  },
}
