/** What a command is, what it may use of the process, and how its arguments are read: wrong ones are one clear line and exit code 2. */
import { parseArgs } from 'node:util'
import { nearest } from '../lib/nearest.ts'

export const EXIT = { ok: 0, failed: 1, usage: 2 } as const
export type ExitCode = (typeof EXIT)[keyof typeof EXIT]
export type FailedCode = Exclude<ExitCode, typeof EXIT.ok>

export interface Io {
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Resolves when what was written is taken, so that large outputs are not piled up. Absent: there is nothing to wait for. */
  readonly flush?: () => Promise<void>
  /** Absent: nobody sits at a terminal. */
  readonly ask?: (question: string) => Promise<string>
}

export interface OptionSpec {
  readonly type: 'string' | 'boolean'
  readonly multiple?: boolean
  readonly short?: string
  /** What stands for the value in the help. */
  readonly value?: string
  /** The value may be left out, and is then this one. Given, it stands behind `=`, or next where this says that it is one. */
  readonly absent?: { readonly value: string; readonly isValue: (next: string) => boolean }
  readonly help: string
}

export interface Command {
  /** One word, or two: `jobs list`. */
  readonly name: string
  /** After the name: `[file]`; the last one may be repeated: `JOB…`. */
  readonly positionals: readonly string[]
  readonly summary: string
  /** More than the summary and the options say. */
  readonly details?: string
  readonly options: Readonly<Record<string, OptionSpec>>
  run(args: Arguments, io: Io): Promise<ExitCode>
}

/** What went wrong, as one line for people; gives the exit code. */
export function complain(io: Io, command: string, what: string, code: FailedCode = EXIT.failed): FailedCode {
  io.err(`spillway ${command}: ${what}\n`)
  return code
}

type Values = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>

export class Arguments {
  readonly positionals: readonly string[]
  readonly #values: Values

  constructor(positionals: readonly string[], values: Values) {
    this.positionals = positionals
    this.#values = values
  }

  has(name: string): boolean {
    return this.#values[name] !== undefined
  }

  text(name: string): string | undefined {
    const value = this.#values[name]
    return typeof value === 'string' ? value : undefined
  }

  texts(name: string): readonly string[] {
    const value = this.#values[name]
    return Array.isArray(value) ? value.map(String) : []
  }
}

/** The arguments, or what is wrong with them. */
export function readArguments(command: Command, given: readonly string[]): Arguments | string {
  const raw = withAbsentValues(command, given)
  const specs: Record<string, OptionSpec> = { ...command.options, help: { type: 'boolean', short: 'h', help: 'print this' } }
  const options = Object.fromEntries(
    Object.entries(specs).map(([name, { type, multiple = false, short }]) => [
      name,
      { type, multiple, ...(short !== undefined && { short }) },
    ]),
  )
  const { tokens } = parseArgs({ args: [...raw], options, strict: false, allowPositionals: true, tokens: true })
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const spec = Object.hasOwn(specs, token.name) ? specs[token.name] : undefined
    if (spec === undefined) {
      const near = nearest(token.name, Object.keys(specs))
      return `there is no option ${token.rawName}${near === undefined ? '' : ` (did you mean --${near}?)`}`
    }
    if (spec.type === 'string' && (token.value === undefined || (token.inlineValue !== true && token.value.startsWith('--')))) {
      return `${token.rawName} needs a value`
    }
    if (spec.type === 'boolean' && token.value !== undefined) return `${token.rawName} takes no value`
  }
  const { values, positionals } = parseArgs({ args: [...raw], options, strict: true, allowPositionals: true })
  const required = command.positionals.filter((name) => !name.startsWith('['))
  if (values['help'] !== true) {
    const missing = required[positionals.length]
    if (missing !== undefined) return `${missing} is missing`
    const extra = command.positionals.at(-1)?.includes('…') === true ? undefined : positionals[command.positionals.length]
    if (extra !== undefined) return `${JSON.stringify(extra)} is one argument too many`
  }
  return new Arguments(positionals, values)
}

/** Puts in the values of options that may go without one. */
function withAbsentValues({ options }: Command, given: readonly string[]): readonly string[] {
  const raw: string[] = []
  for (let i = 0; i < given.length; i++) {
    const word = given[i] as string
    if (word === '--') return [...raw, ...given.slice(i)]
    const absent = word.startsWith('--') && Object.hasOwn(options, word.slice(2)) ? options[word.slice(2)]?.absent : undefined
    const next = given[i + 1]
    if (absent === undefined) raw.push(word)
    else if (next !== undefined && absent.isValue(next)) raw.push(`${word}=${given[++i] as string}`)
    else raw.push(`${word}=${absent.value}`)
  }
  return raw
}

function usageLine(command: Command): string {
  const options = Object.keys(command.options).length > 0 ? ' [options]' : ''
  if (command.name === '') return `spillway --to URL${options}`
  return ['spillway', command.name, ...command.positionals].join(' ') + options
}

export function helpText(command: Command): string {
  const rows = Object.entries(command.options).map(([name, spec]) => {
    const flag = `${spec.short === undefined ? '' : `-${spec.short}, `}--${name}${valueText(spec)}`
    return [flag, spec.multiple === true ? `${spec.help}; may be repeated` : spec.help] as const
  })
  const width = Math.max(0, ...rows.map(([flag]) => flag.length))
  const options = rows.map(([flag, help]) => `  ${flag.padEnd(width)}  ${help}`)
  const parts = [`usage: ${usageLine(command)}`, command.summary, command.details, options.join('\n')]
  return `${parts.filter((part) => part !== undefined && part !== '').join('\n\n')}\n`
}

function valueText({ value, absent }: OptionSpec): string {
  if (value === undefined) return ''
  return absent === undefined ? ` ${value}` : `[=${value}]`
}
