/**
 * Where a configuration comes from: a YAML text or a module. Gives plain data, what is wrong with the text itself, and where in the text
 * each value stands. `${NAME}` and `${NAME:-default}` are filled in from the environment, in values only; `$${` stands for `${`.
 */
import type { Document, Node, ParsedNode, YAMLMap } from 'yaml'
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import type { Path, Place, Problem } from './problem.ts'
import { nearest } from '../lib/nearest.ts'

export type Environment = Readonly<Record<string, string | undefined>>

export interface PlacedProblem extends Problem {
  readonly place?: Place | undefined
}

export interface Source {
  /** Plain data, fresh: the reader may change it. Undefined when the text cannot be read. */
  readonly value: unknown
  readonly problems: readonly PlacedProblem[]
  /** Did text from the environment become this value, so that its type is not known? */
  isFromEnvironment(path: Path): boolean
  /** The path without the steps that the short form leaves out, and where it stands. `key`: of its key, not of its value. */
  locate(path: Path, on: 'key' | 'value'): { readonly path: Path; readonly place: Place | undefined }
}

/** Aliases can make a small text large. */
const NODES_MAX = 100_000
const TEXT_CHARS_MAX = 4 * 1024 * 1024

/** For modules: there are no places, and the values are what they are. */
export function moduleSource(value: unknown): Source {
  return { value, problems: [], isFromEnvironment: () => false, locate: (path) => ({ path, place: undefined }) }
}

export function yamlSource(text: string, environment: Environment): Source {
  if (text.length > TEXT_CHARS_MAX) return unreadable({ path: [], message: 'the file is larger than 4 MiB' })
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, strict: true, stringKeys: true })
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset)
    return { line, column: col }
  }
  const faults = [...document.errors, ...document.warnings]
  if (faults.length > 0) {
    // After one error in the form the parser guesses, and its further complaints say nothing.
    const [first] = faults.filter((fault) => fault.code !== 'DUPLICATE_KEY')
    const told = faults.filter((fault) => fault === first || fault.code === 'DUPLICATE_KEY')
    return unreadable(...told.map((fault) => ({ path: [], message: syntaxMessage(fault, text), place: placeAt(fault.pos[0]) })))
  }
  const reader = new YamlReader(document, environment)
  const value = reader.read(document.contents, [])
  return {
    value,
    problems: reader.problems.map((problem) => ({ ...problem, ...locateIn(document, problem.path, 'value', placeAt) })),
    isFromEnvironment: (path) => reader.fromEnvironment.has(JSON.stringify(path)),
    locate: (path, on) => locateIn(document, path, on, placeAt),
  }
}

function unreadable(...problems: readonly PlacedProblem[]): Source {
  return { ...moduleSource(undefined), problems }
}

function syntaxMessage(
  fault: { readonly code: string; readonly message: string; readonly pos: readonly [number, number] },
  text: string,
): string {
  if (fault.code === 'DUPLICATE_KEY') return 'this key stands there twice'
  const hint = text.slice(fault.pos[0] - 1, fault.pos[0] + 1) === '${' ? '; inside of { } and [ ], write "${NAME}" with quotes' : ''
  return `not valid YAML: ${fault.message.split('\n')[0] ?? fault.code}${hint}`
}

class YamlReader {
  readonly problems: Problem[] = []
  readonly fromEnvironment = new Set<string>()
  readonly #document: Document.Parsed
  readonly #environment: Environment
  /** What is being read right now: an alias of it would never end. */
  readonly #open = new Set<Node>()
  #nodes = 0

  constructor(document: Document.Parsed, environment: Environment) {
    this.#document = document
    this.#environment = environment
  }

  read(node: Node | ParsedNode | null, path: Path): unknown {
    if (++this.#nodes > NODES_MAX) {
      if (this.#nodes === NODES_MAX + 1) this.problems.push({ path, message: `the file has more than ${NODES_MAX} values` })
      return undefined
    }
    if (isAlias(node)) return this.#readAlias(node.resolve(this.#document), path)
    if (!isMap(node) && !isSeq(node)) return this.#readScalar(node, path)
    this.#open.add(node)
    const value = isMap(node) ? this.#readMap(node, path) : node.items.map((item, i) => this.read(item as Node | null, [...path, i]))
    this.#open.delete(node)
    return value
  }

  #readMap(node: YAMLMap, path: Path): Record<string, unknown> {
    const value: Record<string, unknown> = {}
    for (const pair of node.items) {
      const key = String(isScalar(pair.key) ? pair.key.value : pair.key)
      // Plain data has no such key; it would change the object instead.
      if (key === '__proto__') this.problems.push({ path: [...path, key], message: 'unknown key', onKey: true })
      else value[key] = this.read(pair.value as Node | null, [...path, key])
    }
    return value
  }

  #readScalar(node: Node | null, path: Path): unknown {
    if (!isScalar(node)) return null
    return typeof node.value === 'string' ? this.#expand(node.value, path) : node.value
  }

  #readAlias(target: Node | undefined, path: Path): unknown {
    if (target === undefined || this.#open.has(target)) {
      this.problems.push({ path, message: 'this alias leads nowhere or to itself' })
      return undefined
    }
    return this.read(target, path)
  }

  #expand(text: string, path: Path): string {
    if (!text.includes('${')) return text
    const expanded = text.replaceAll(/\$\$\{|\$\{([^}]*)(\}?)/g, (whole: string, inner: string | undefined, close: string | undefined) => {
      if (inner === undefined) return '${'
      const [, name, fallback] = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s.exec(inner) ?? []
      if (close === '' || name === undefined) {
        this.problems.push({
          path,
          message: `${whole} is no variable; write \${NAME} or \${NAME:-default}, or $\${ for the characters themselves`,
        })
        return ''
      }
      const value = Object.hasOwn(this.#environment, name) ? this.#environment[name] : undefined
      // As in a shell: `:-` also replaces an empty variable.
      if (fallback !== undefined) return value === undefined || value === '' ? fallback : value
      if (value !== undefined) return value
      const suggestion = nearest(name, Object.keys(this.#environment))
      this.problems.push({ path, message: `the environment has no ${name}, and there is no default (\${${name}:-…})`, suggestion })
      return ''
    })
    this.fromEnvironment.add(JSON.stringify(path))
    return expanded
  }
}

/** Follows the path as far as the text goes. */
function locateIn(
  document: Document.Parsed,
  path: Path,
  on: 'key' | 'value',
  placeAt: (offset: number) => Place,
): { readonly path: Path; readonly place: Place } {
  let node: Node | null = document.contents
  let offset = node?.range?.[0] ?? 0
  const written: (string | number)[] = []
  for (const [i, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document) ?? null
    let key: Node | undefined
    let next: Node | null | undefined
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step))
      key = pair?.key as Node | undefined
      next = pair === undefined ? undefined : (pair.value as Node | null)
    } else if (isSeq(node)) next = node.items[Number(step)] as Node | undefined
    if (next === undefined) {
      // A step of the long form that the short form has not (a list where the long form has a mapping), or a key that is missing.
      const isShort = isSeq(node) ? typeof step === 'string' : isScalar(node)
      if (!isShort) return { path: [...written, ...path.slice(i)], place: placeAt(offset) }
      continue
    }
    written.push(step)
    const keyOffset = key?.range?.[0] ?? offset
    offset = i === path.length - 1 && on === 'key' && key !== undefined ? keyOffset : (next?.range?.[0] ?? keyOffset)
    node = next
  }
  return { path: written, place: placeAt(offset) }
}
