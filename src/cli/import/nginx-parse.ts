/** Reads the syntax of nginx configurations into a tree of directives, each with its file and line. Pure: included files are asked of the caller. */
import type { Place, SourceLine } from './draft.ts'

export interface Directive extends SourceLine {
  readonly name: string
  readonly args: readonly string[]
  /** Where it has one. */
  readonly block: readonly Directive[] | undefined
}

export interface WrongSyntax {
  readonly at: Place
  readonly wrong: string
}

export interface SourceFile {
  readonly file: string
  readonly text: string
}

/** What an `include` names, in order; or why it cannot be had. */
export type ReadIncluded = (pattern: string, from: string) => readonly SourceFile[] | string

const DEPTH_MAX = 50
const INCLUDES_MAX = 1000

interface Token {
  readonly text: string
  readonly line: number
  /** `;`, `{` and `}` that are no part of a word. */
  readonly isMark: boolean
}

export function parseNginx({ file, text }: SourceFile): readonly Directive[] | WrongSyntax {
  const tokens = tokenize(text)
  if (typeof tokens === 'object' && 'wrong' in tokens) return { at: { file, line: tokens.line }, wrong: tokens.wrong }
  return new Parser(file, tokens).all()
}

class Parser {
  readonly #file: string
  readonly #tokens: readonly Token[]
  #next = 0

  constructor(file: string, tokens: readonly Token[]) {
    this.#file = file
    this.#tokens = tokens
  }

  all(): readonly Directive[] | WrongSyntax {
    const found = this.#block(0)
    if ('wrong' in found) return found
    const rest = this.#tokens[this.#next]
    return rest === undefined ? found : this.#wrong(rest, 'a } without its {')
  }

  /** Until the end, or to a `}` that is not its own. */
  #block(depth: number): readonly Directive[] | WrongSyntax {
    const directives: Directive[] = []
    for (let token = this.#tokens[this.#next]; token !== undefined && !is(token, '}'); token = this.#tokens[this.#next]) {
      const directive = this.#directive(depth)
      if ('wrong' in directive) return directive
      directives.push(directive)
    }
    return directives
  }

  #directive(depth: number): Directive | WrongSyntax {
    const first = this.#tokens[this.#next] as Token
    if (first.isMark) return this.#wrong(first, `a directive was expected, not ${first.text}`)
    const words: string[] = []
    for (let token = this.#tokens[this.#next]; token !== undefined && !token.isMark; token = this.#tokens[++this.#next])
      words.push(token.text)
    const mark = this.#tokens[this.#next++]
    if (mark === undefined || is(mark, '}')) return this.#wrong(first, `"${first.text}" is not ended by ;`)
    const [name = '', ...args] = words
    const own = { at: { file: this.#file, line: first.line }, name, args, text: `${words.join(' ')}${is(mark, ';') ? ';' : ' {'}` }
    if (is(mark, ';')) return { ...own, block: undefined }
    if (depth >= DEPTH_MAX) return this.#wrong(first, 'blocks are nested too deeply')
    const block = this.#block(depth + 1)
    if ('wrong' in block) return block
    if (this.#tokens[this.#next++] === undefined) return this.#wrong(first, `the block of "${name}" is not ended by }`)
    return { ...own, block }
  }

  #wrong({ line }: Token, wrong: string): WrongSyntax {
    return { at: { file: this.#file, line }, wrong }
  }
}

function is({ isMark, text }: Token, mark: string): boolean {
  return isMark && text === mark
}

function tokenize(text: string): Token[] | { readonly line: number; readonly wrong: string } {
  const tokens: Token[] = []
  let line = 1
  let i = 0
  while (i < text.length) {
    const c = text[i] as string
    if (c === '\n') line++
    if (/[ \t\r\n]/.test(c) || c === '\ufeff') i++
    else if (c === '#') i = endOfLine(text, i)
    else if (c === ';' || c === '{' || c === '}') {
      tokens.push({ text: c, line, isMark: true })
      i++
    } else {
      const word = c === '"' || c === "'" ? readQuoted(text, i) : readWord(text, i)
      if (word === undefined) return { line, wrong: 'a quote is not ended' }
      tokens.push({ text: word.text, line, isMark: false })
      for (let at = i; at < word.end; at++) if (text[at] === '\n') line++
      i = word.end
    }
  }
  return tokens
}

function endOfLine(text: string, from: number): number {
  const end = text.indexOf('\n', from)
  return end < 0 ? text.length : end
}

function readQuoted(text: string, from: number): { text: string; end: number } | undefined {
  let word = ''
  for (let i = from + 1; i < text.length; i++) {
    if (text[i] === text[from]) return { text: word, end: i + 1 }
    if (text[i] === '\\' && /["'\\]/.test(text[i + 1] ?? '')) i++
    word += text[i]
  }
  return undefined
}

/** `${name}` is a part of a word; any other brace ends it. */
function readWord(text: string, from: number): { text: string; end: number } {
  let i = from
  while (i < text.length) {
    const c = text[i] as string
    if (/[ \t\r\n]/.test(c) || c === ';') break
    if (c === '{') {
      if (text[i - 1] !== '$' || i === from) break
      const close = text.indexOf('}', i)
      if (close < 0) break
      i = close
    } else if (c === '\\' && i + 1 < text.length) i++
    i++
  }
  return { text: text.slice(from, i), end: i }
}

/** Puts in what `include` names, also within blocks. */
export function withIncludes(directives: readonly Directive[], read: ReadIncluded): readonly Directive[] | WrongSyntax {
  let included = 0
  const expand = (list: readonly Directive[], depth: number): readonly Directive[] | WrongSyntax => {
    const all: Directive[] = []
    for (const directive of list) {
      const found = directive.name === 'include' && directive.block === undefined ? open(directive, depth) : within(directive, depth)
      if ('wrong' in found) return found
      for (const each of found) all.push(each)
    }
    return all
  }
  const within = (directive: Directive, depth: number): readonly Directive[] | WrongSyntax => {
    if (directive.block === undefined) return [directive]
    const block = expand(directive.block, depth)
    return 'wrong' in block ? block : [{ ...directive, block }]
  }
  const open = (directive: Directive, depth: number): readonly Directive[] | WrongSyntax => {
    const { at, args } = directive
    if (depth >= DEPTH_MAX) return { at, wrong: 'files include each other too deeply' }
    const files = read(args[0] ?? '', at.file)
    if (typeof files === 'string') return { at, wrong: files }
    const all: Directive[] = []
    for (const file of files) {
      if (++included > INCLUDES_MAX) return { at, wrong: `more than ${INCLUDES_MAX} files are included` }
      const parsed = parseNginx(file)
      const found = 'wrong' in parsed ? parsed : expand(parsed, depth + 1)
      if ('wrong' in found) return found
      for (const each of found) all.push(each)
    }
    return all
  }
  return expand(directives, 0)
}
