/** The command line: finds the command, reads its arguments, runs it, gives the exit code. */
import type { Command, ExitCode, Io } from './command.ts'
import { EXIT, helpText, readArguments } from './command.ts'
import { type Entry, findCommand, groupHelpText, isGroup } from './command-group.ts'
import { backupCommand } from './commands/backup.ts'
import { benchCommand } from './commands/bench.ts'
import { checkCommand } from './commands/check.ts'
import { doctorCommand } from './commands/doctor.ts'
import { explainCommand } from './commands/explain.ts'
import { importCommand } from './commands/import.ts'
import { initCommand } from './commands/init.ts'
import { modeCommand } from './commands/mode.ts'
import { jobsGroup } from './commands/jobs.ts'
import { keysGroup } from './commands/keys.ts'
import { queuesGroup } from './commands/queues.ts'
import { reloadCommand } from './commands/reload.ts'
import { rekeyCommand } from './commands/rekey.ts'
import { restoreCommand } from './commands/restore.ts'
import { runCommand } from './commands/run.ts'
import { salvageCommand } from './commands/salvage.ts'
import { schedulesGroup, topicsGroup } from './commands/schedules.ts'
import { serversGroup } from './commands/servers.ts'
import { statusCommand } from './commands/status.ts'
import { supportBundleCommand } from './commands/support-bundle.ts'
import { toCommand } from './commands/to.ts'
import { webhooksGroup } from './commands/webhooks.ts'
import { upgradeCommand } from './commands/upgrade.ts'
import { verifyCommand } from './commands/verify.ts'
import { whyCommand } from './commands/why.ts'
import { demoCommand } from './demo/demo.ts'
import { version } from './version.ts'

export const ENTRIES: readonly Entry[] = [
  runCommand,
  checkCommand,
  explainCommand,
  demoCommand,
  initCommand,
  importCommand,
  statusCommand,
  reloadCommand,
  upgradeCommand,
  modeCommand,
  doctorCommand,
  supportBundleCommand,
  queuesGroup,
  jobsGroup,
  keysGroup,
  serversGroup,
  whyCommand,
  schedulesGroup,
  topicsGroup,
  webhooksGroup,
  backupCommand,
  restoreCommand,
  verifyCommand,
  salvageCommand,
  rekeyCommand,
  benchCommand,
]

export async function runCli(argv: readonly string[], io: Io): Promise<ExitCode> {
  const [first] = argv
  if (first === undefined || first === '--help' || first === '-h') return say(io, overview())
  if (first === '--version' || first === '-v') return say(io, `${version()}\n`)
  if (first === 'help') return help(argv.slice(1), io)
  if (first.startsWith('-')) return await runCommandWith(toCommand, argv, io)
  const found = findCommand(ENTRIES, argv)
  if (found.kind === 'unknown') return complain(io, found.message, found.hint)
  return found.kind === 'group' ? say(io, groupHelpText(found.group)) : await runCommandWith(found.command, found.rest, io)
}

function say(io: Io, text: string): ExitCode {
  io.out(text)
  return EXIT.ok
}

function complain(io: Io, message: string, hint: string): ExitCode {
  io.err(`${message}; see: ${hint}\n`)
  return EXIT.usage
}

function help(args: readonly string[], io: Io): ExitCode {
  const [name, word] = args
  if (name === undefined) return say(io, overview())
  if (name === '--to') return say(io, helpText(toCommand))
  const group = ENTRIES.find((entry) => entry.name === name)
  if (word === undefined && group !== undefined && isGroup(group)) return say(io, groupHelpText(group))
  const found = findCommand(ENTRIES, args)
  if (found.kind === 'unknown') return complain(io, found.message, found.hint)
  return say(io, found.kind === 'group' ? groupHelpText(found.group) : helpText(found.command))
}

async function runCommandWith(command: Command, raw: readonly string[], io: Io): Promise<ExitCode> {
  const hint = command.name === '' ? 'spillway help --to' : `spillway help ${command.name}`
  const called = command.name === '' ? 'spillway' : `spillway ${command.name}`
  const args = readArguments(command, raw)
  if (typeof args === 'string') return complain(io, `${called}: ${args}`, hint)
  if (args.has('help')) return say(io, helpText(command))
  if (command === toCommand && !args.has('to'))
    return complain(io, 'spillway: --to is missing: which server shall it stand in front of?', hint)
  return await command.run(args, io)
}

function overview(): string {
  const rows = ENTRIES.map((entry) => [usageOf(entry), entry.summary] as const)
  const width = Math.max(...rows.map(([usage]) => usage.length))
  return `Spillway: a load balancer and API gateway with a durable queue behind every route.

usage: spillway <command> [options]
       spillway --to URL [--queue MATCH] [--spill MATCH]      a gateway in front of your app, without a file

${rows.map(([usage, summary]) => `  ${usage.padEnd(width)}  ${summary}`).join('\n')}
  ${'help [command]'.padEnd(width)}  Tell more about a command.
  ${'--version'.padEnd(width)}  Print the version.

exit codes: 0 fine, 1 failed while running, 2 the configuration or the arguments are wrong
`
}

function usageOf(entry: Entry): string {
  return [entry.name, ...(isGroup(entry) ? ['<command>'] : entry.positionals)].join(' ')
}
