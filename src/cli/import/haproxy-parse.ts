/** Reads the syntax of HAProxy's configurations: sections of lines, each a list of words with its file and line. Pure. */
import type { Place, SourceLine } from './draft.ts'

export interface Statement extends SourceLine {
  readonly words: readonly string[]
}

export interface Section extends SourceLine {
  readonly kind: string
  readonly name: string
  readonly lines: readonly Statement[]
}

const SECTIONS = new Set(
  'global defaults frontend backend listen peers resolvers userlist mailers cache program http-errors ring log-forward fcgi-app crt-store traces'.split(
    ' ',
  ),
)

export function parseHaproxy({
  file,
  text,
}: {
  readonly file: string
  readonly text: string
}): readonly Section[] | { readonly at: Place; readonly wrong: string } {
  const sections: (Section & { readonly lines: Statement[] })[] = []
  for (const [i, line] of text.split('\n').entries()) {
    const at = { file, line: i + 1 }
    const words = wordsOf(line)
    if (typeof words === 'string') return { at, wrong: words }
    const [first = '', name = ''] = words
    if (words.length === 0) continue
    const source = { at, text: line.trim() }
    if (SECTIONS.has(first)) sections.push({ ...source, kind: first, name, lines: [] })
    else {
      const section = sections.at(-1)
      if (section === undefined) return { at, wrong: `a section such as frontend was expected, not ${JSON.stringify(first)}` }
      section.lines.push({ ...source, words })
    }
  }
  return sections
}

/** What is wrong with it, as text. Quotes and backslashes as HAProxy reads them. */
function wordsOf(line: string): string[] | string {
  const words: string[] = []
  let word: string | undefined
  for (let i = 0; i < line.length; i++) {
    const c = line[i] as string
    if (c === '#') break
    if (/\s/.test(c) || c === '\ufeff') {
      if (word !== undefined) words.push(word)
      word = undefined
    } else if (c === '\\') word = (word ?? '') + escaped(line[++i] ?? '')
    else if (c === "'" || c === '"') {
      const end = endOfQuote(line, i)
      if (end < 0) return 'a quote is not ended'
      const quoted = line.slice(i + 1, end)
      word = (word ?? '') + (c === '"' ? quoted.replaceAll(/\\(.)/g, (_, found: string) => escaped(found)) : quoted)
      i = end
    } else word = (word ?? '') + c
  }
  if (word !== undefined) words.push(word)
  return words
}

/** What is no escape stays as it is: `\1` is what a group of a regular expression has found. */
function escaped(c: string): string {
  return { r: '\r', n: '\n', t: '\t' }[c] ?? (/[\w.]/.test(c) ? `\\${c}` : c)
}

function endOfQuote(line: string, from: number): number {
  for (let i = from + 1; i < line.length; i++) {
    if (line[i] === '\\' && line[from] === '"') i++
    else if (line[i] === line[from]) return i
  }
  return -1
}
