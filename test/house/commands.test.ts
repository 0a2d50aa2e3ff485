/**
 * Every command line of ours that stands in the documentation, in the rules of `ops/` and in the hints of the program can be typed: its words and
 * options are read by the parser that the program has. Placeholders stand for words; nothing is run.
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readArguments } from '../../src/cli/command.ts'
import { findCommand } from '../../src/cli/command-group.ts'
import { toCommand } from '../../src/cli/commands/to.ts'
import { ENTRIES } from '../../src/cli/main.ts'

const ROOT = join(import.meta.dirname, '..', '..')
/** Generated from the commands themselves, as tables. */
const GENERATED = ['docs/cli.md']

/** A command line without its first word: where it ends for the shell, it ends here. */
function wordsOf(line: string): readonly string[] {
  const filled = line
    // In a usage line: may be left out, may be repeated.
    .replaceAll(/\[[^\]]*\]/g, '')
    .replaceAll('…', '')
    .replaceAll(/\$\{[^}]*\}|<[^>]*>/g, 'x')
  const words: string[] = []
  for (const [word] of filled.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g)) {
    if (/^(?:#|\||\|\||&&|&|>|>>|<|\d>)/.test(word)) break
    const plain = word.replaceAll(/'([^']*)'|"([^"]*)"/g, '$1$2')
    words.push(plain.replace(/;$/, ''))
    if (word.endsWith(';')) break
  }
  return words
}

/** What is wrong with it; undefined: it can be typed, or, in prose, it is the bare name of a command. */
function problemOf(line: string, isProse = false): string | undefined {
  const words = wordsOf(line)
  const [first = ''] = words
  if (first === 'help') return words.length === 1 ? undefined : knownWords(words.slice(1))
  if (first === '--version' || first === '--help') return undefined
  if (first.startsWith('-')) return wrong(readArguments(toCommand, words))
  const found = findCommand(ENTRIES, words)
  if (found.kind === 'unknown') return found.message
  if (found.kind === 'group' || (isProse && found.rest.length === 0)) return undefined
  return wrong(readArguments(found.command, found.rest))
}

function knownWords(words: readonly string[]): string | undefined {
  if (words.every((word) => word === 'x' || word === '--to')) return undefined
  const found = findCommand(ENTRIES, [...words, '--help'])
  return found.kind === 'unknown' ? found.message : undefined
}

function wrong(read: ReturnType<typeof readArguments>): string | undefined {
  return typeof read === 'string' ? read : undefined
}

/** In Markdown: between backticks, and lines of blocks of code. In YAML: anywhere between backticks. */
function inText(text: string): readonly string[] {
  const blocks = [...text.matchAll(/^```\w*\n([^]*?)^```/gm)].flatMap(([, block = '']) => block.split('\n'))
  const lines = blocks.flatMap((line) => /^\s*(?:\$ )?(?:npm run -s )?spillway (?:-- )?(\S.*)$/.exec(line)?.[1] ?? [])
  const inline = text.replaceAll(/^```[^]*?^```/gm, '').matchAll(/`(?:npm run -s )?spillway (?:-- )?([^`]+)`/g)
  return [...lines, ...[...inline].map(([, line = '']) => line)]
}

/**
 * In the program: wherever a text says `spillway` and a command, up to where the sentence goes on. What begins an error message
 * (`spillway jobs list: …`) is none, nor is what is put together from parts.
 */
function inSource(text: string): readonly string[] {
  const code = text
    .split('\n')
    .filter((line) => !/^\s*(?:\*|\/\/|\/\*)/.test(line))
    .join('\n')
  const found = code.matchAll(/(?<![\w=."-]|realm=")spillway ((?:--)?[a-z][a-z-]*(?:[^\n'`,;:.)("]|\.(?=\w)|\((?=[\w.]*\)))*)([^\n]?)/g)
  return (
    [...found]
      .filter(([, , next]) => next !== ':')
      .map(([, line = '']) =>
        line
          .replace(/\\n.*$/, '')
          .replace(/ (?:and|or|then|to|with|in|alone|tells|writes|makes) .*$| {2,}.*$/, '')
          .trim(),
      )
      // Put together from parts: the parts are not here.
      .filter((line) => !/^\w*\$\{|\$\{command\}|\$\{[^}]*$/.test(line))
  )
}

function quotedIn(path: string): readonly string[] {
  const text = readFileSync(join(ROOT, path), 'utf8')
  return path.endsWith('.ts') ? inSource(text) : inText(text)
}

function collect(patterns: readonly string[]): readonly (readonly [path: string, line: string])[] {
  const paths = globSync([...patterns], { cwd: ROOT }).filter((path) => !path.endsWith('.test.ts') && !GENERATED.includes(path))
  return paths.sort().flatMap((path) => quotedIn(path).map((line) => [path, line] as const))
}

const TEXTS = collect(['*.md', 'docs/**/*.md', 'ops/**/*', 'bench/*.md'])
const SOURCES = collect(['src/**/*.ts'])

for (const [what, quoted, least] of [
  ['documentation and rules', TEXTS, 60],
  ['hints of the program', SOURCES, 30],
] as const) {
  describe(what, () => {
    test('quote command lines', () => assert.ok(quoted.length >= least, `${quoted.length} were found`))
    test('every one of them can be typed', () => {
      const problems = quoted.flatMap(([path, line]) => {
        const problem = problemOf(line, path.endsWith('.md'))
        return problem === undefined ? [] : [`${path}: spillway ${line}: ${problem}`]
      })
      assert.deepEqual(problems, [])
    })
  })
}

describe('canary: what is misspelt is found', () => {
  const cases: Readonly<Record<string, readonly [line: string, problem: RegExp]>> = {
    'a command': ['statsu', /did you mean status/],
    'the second word of one': ['jobs redirve <job>', /did you mean redrive/],
    'an option': ['jobs list <queue> --ded', /there is no option --ded/],
    'a value that is missing': ['jobs list <queue> --status', /--status needs a value/],
    'an argument too many': ['queues pause <queue> <other>', /one argument too many/],
    'an argument that is missing': ['why', /JOB is missing/],
    'one in front of an app': ['--to http://localhost:3000 --quee "POST /x"', /there is no option --quee/],
    'help for nothing': ['help jobs redirve', /no command/],
  }
  for (const [name, [line, problem]] of Object.entries(cases)) test(name, () => assert.match(problemOf(line) ?? '', problem))

  test('in Markdown, in a block of code, and in a text of the program', () => {
    assert.deepEqual(inText('Type `spillway statsu` or\n```sh\nnpm run -s spillway -- jbos list # all\n```\n'), [
      'jbos list # all',
      'statsu',
    ])
    const source =
      "todo: `spillway queus resume ${queue.name}`\n'see: spillway jobs lst, then spillway why <job>'\nerr(`spillway why: ${what}`)\n"
    assert.deepEqual(inSource(source), ['queus resume ${queue.name}', 'jobs lst', 'why <job>'])
  })
})
