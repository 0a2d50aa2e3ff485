/** `spillway run`: the gateway of a configuration file. */
import { loadConfig } from '../../config/load.ts'
import type { Command } from '../command.ts'
import { EXIT } from '../command.ts'
import { DEFAULT_FILE, readConfigOrTell } from '../config-argument.ts'
import { serve } from '../serve.ts'

export const runCommand: Command = {
  name: 'run',
  positionals: ['[file]'],
  summary: `Run the gateway of a configuration (default: ${DEFAULT_FILE}).`,
  details:
    'SIGTERM or SIGINT drains and exits 0; a second one exits at once. SIGHUP reads the configuration again: spillway help reload. SIGUSR2 has another process\ntake over: spillway help upgrade.\nExit code 1: failed while starting or running; 2: the configuration is wrong.',
  options: {},
  async run(args, io) {
    const file = args.positionals[0] ?? DEFAULT_FILE
    const config = await readConfigOrTell(file, io)
    return config === undefined ? EXIT.usage : await serve(config, io, () => loadConfig(file, io.environment))
  },
}
