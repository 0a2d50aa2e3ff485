/** `spillway check`: everything that is wrong with a configuration, at once. */
import type { Config } from '../../config/config.ts'
import { loadConfig } from '../../config/load.ts'
import type { Command } from '../command.ts'
import { EXIT } from '../command.ts'
import { DEFAULT_FILE, tell } from '../config-argument.ts'

export const checkCommand: Command = {
  name: 'check',
  positionals: ['[file]'],
  summary: `Check a configuration (default: ${DEFAULT_FILE}). Exit code 2 when something is wrong.`,
  options: { json: { type: 'boolean', help: 'print {ok, errors, warnings}' } },
  async run(args, io) {
    const file = args.positionals[0] ?? DEFAULT_FILE
    const result = await loadConfig(file, io.environment)
    if (args.has('json')) {
      const { ok, warnings } = result
      io.out(`${JSON.stringify({ ok, errors: result.ok ? [] : result.errors, warnings }, undefined, 2)}\n`)
      return result.ok ? EXIT.ok : EXIT.usage
    }
    const config = tell(result, io)
    if (config === undefined) return EXIT.usage
    io.out(`${file}: ok  ${summaryText(config)}\n`)
    return EXIT.ok
  },
}

function summaryText(config: Config): string {
  const counted = (names: readonly string[], one: string): string =>
    `${names.length} ${one}${names.length === 1 ? '' : 's'}${names.length === 0 ? '' : ` (${names.join(', ')})`}`
  const names = (items: readonly { readonly name: string }[]): string[] => items.map((item) => item.name)
  return [counted(names(config.routes), 'route'), counted(names(config.pools), 'pool'), counted(names(config.queues), 'queue')].join(', ')
}
