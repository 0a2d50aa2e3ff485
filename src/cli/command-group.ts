/** Commands of two words that share the first (`jobs list`, `jobs show`), and which command a line of words means. */
import { nearest } from '../lib/nearest.ts'
import type { Command } from './command.ts'

export interface CommandGroup {
  readonly name: string
  readonly summary: string
  readonly commands: readonly Command[]
  /** What the first word alone stands for. */
  readonly fallback?: Command
}

export type Entry = Command | CommandGroup

export function isGroup(entry: Entry): entry is CommandGroup {
  return 'commands' in entry
}

/** `list` of `jobs list`. */
function wordOf(command: Command): string {
  return command.name.split(' ').at(-1) ?? ''
}

export function groupHelpText({ name, summary, commands, fallback }: CommandGroup): string {
  const rows = commands.map((command) => [[command.name, ...command.positionals].join(' '), command.summary] as const)
  const width = Math.max(...rows.map(([usage]) => usage.length))
  const list = rows.map(([usage, text]) => `  spillway ${usage.padEnd(width)}  ${text}`)
  const alone = fallback === undefined ? '' : `\n\nspillway ${name} alone is spillway ${fallback.name}.`
  return `usage: spillway ${name} <command> [options]\n\n${summary}\n\n${list.join('\n')}${alone}\n\nspillway help ${name} <command> tells more about one of them.\n`
}

export type Found =
  | { readonly kind: 'command'; readonly command: Command; readonly rest: readonly string[] }
  | { readonly kind: 'group'; readonly group: CommandGroup }
  | { readonly kind: 'unknown'; readonly message: string; readonly hint: string }

export function findCommand(entries: readonly Entry[], words: readonly string[]): Found {
  const [first = '', ...rest] = words
  const entry = entries.find(({ name }) => name === first)
  if (entry === undefined)
    return unknown(
      'spillway',
      first,
      entries.map(({ name }) => name),
    )
  if (!isGroup(entry)) return { kind: 'command', command: entry, rest }
  const [second] = rest
  const command = entry.commands.find((each) => wordOf(each) === second)
  if (command !== undefined) return { kind: 'command', command, rest: rest.slice(1) }
  if (second === '--help' || second === '-h') return { kind: 'group', group: entry }
  const { name, fallback } = entry
  if (fallback !== undefined && (second === undefined || second.startsWith('-'))) return { kind: 'command', command: fallback, rest }
  const known = entry.commands.map(wordOf)
  if (second !== undefined && !second.startsWith('-')) return unknown(`spillway ${name}`, second, known)
  return { kind: 'unknown', message: `spillway ${name}: say which: ${known.join(', ')}`, hint: `spillway help ${name}` }
}

function unknown(called: string, word: string, known: readonly string[]): Found {
  const near = nearest(word, known)
  const hint = called.replace('spillway', 'spillway help')
  return {
    kind: 'unknown',
    message: `${called}: there is no command ${JSON.stringify(word)}${near === undefined ? '' : ` (did you mean ${near}?)`}`,
    hint,
  }
}
