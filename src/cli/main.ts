/** The command line: finds the command, reads its arguments, runs it, gives the exit code. */
import { nearest } from '../config/problem.ts'
import type { Command, ExitCode, Io } from './command.ts'
import { EXIT, helpText, readArguments } from './command.ts'
import { checkCommand } from './commands/check.ts'
import { explainCommand } from './commands/explain.ts'
import { initCommand } from './commands/init.ts'
import { runCommand } from './commands/run.ts'
import { statusCommand } from './commands/status.ts'
import { toCommand } from './commands/to.ts'
import { demoCommand } from './demo/demo.ts'
import { version } from './version.ts'

const COMMANDS: readonly Command[] = [runCommand, checkCommand, explainCommand, demoCommand, initCommand, statusCommand]

export async function runCli(argv: readonly string[], io: Io): Promise<ExitCode> {
  const [first, ...rest] = argv
  if (first === undefined || first === '--help' || first === '-h') return say(io, overview())
  if (first === '--version' || first === '-v') return say(io, `${version()}\n`)
  if (first === 'help') return help(rest, io)
  if (first.startsWith('-')) return await runCommandWith(toCommand, argv, io)
  const command = COMMANDS.find(({ name }) => name === first)
  return command === undefined ? unknownCommand(first, io) : await runCommandWith(command, rest, io)
}

function say(io: Io, text: string): ExitCode {
  io.out(text)
  return EXIT.ok
}

function complain(io: Io, message: string, hint: string): ExitCode {
  io.err(`${message}; see: ${hint}\n`)
  return EXIT.usage
}

function unknownCommand(name: string, io: Io): ExitCode {
  const near = nearest(
    name,
    COMMANDS.map((command) => command.name),
  )
  return complain(
    io,
    `spillway: there is no command ${JSON.stringify(name)}${near === undefined ? '' : ` (did you mean ${near}?)`}`,
    'spillway help',
  )
}

function help(args: readonly string[], io: Io): ExitCode {
  const [name] = args
  if (name === undefined) return say(io, overview())
  const command = [...COMMANDS, toCommand].find((each) => each.name === name.replace(/^--to$/, ''))
  return command === undefined ? unknownCommand(name, io) : say(io, helpText(command))
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
  const rows = COMMANDS.map((command) => [[command.name, ...command.positionals].join(' '), command.summary] as const)
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
