/**
 * From plain data to the parsed file: runs the schema and says in our words what it found. What is wrong is then taken out and the rest parsed
 * again, so that the checks between keys (`resolve.ts`) can find their errors in the same run.
 */
import type * as z from 'zod'
import { shown } from './fields.ts'
import { configJsonSchema, knownKeys } from './json-schema.ts'
import type { Path, Problem } from './problem.ts'
import { nearest } from '../lib/nearest.ts'
import type { ParsedFile } from './schema.ts'
import { configSchema } from './schema.ts'

export interface Parsed {
  /** Absent when too little is left of the file. Where something is wrong, defaults or placeholders stand in. */
  readonly file?: ParsedFile
  readonly problems: readonly Problem[]
  /** Where something was wrong: nothing may be concluded from what stands there now. */
  readonly broken: readonly Path[]
}

interface Leaf {
  readonly path: Path
  readonly issue: z.core.$ZodIssue
}

type Container = Record<string | number, unknown>

/** Each round takes at least one thing out; a file is never that wrong. */
const ROUNDS_MAX = 20
/** Stands in for an entry that cannot be taken out of its list without moving the others. */
const PLACEHOLDERS: Readonly<Record<string, unknown>> = {
  routes: { match: '/*' },
  servers: 'http://placeholder.invalid',
  listeners: '127.0.0.1:0',
}

export function parseValue(value: unknown, isFromEnvironment: (path: Path) => boolean): Parsed {
  let leaves = check(value)
  if (Array.isArray(leaves) && convertNumbers(value, leaves, isFromEnvironment)) leaves = check(value)
  if (!Array.isArray(leaves)) return { file: leaves, problems: [], broken: [] }
  const problems = leaves.flatMap(toProblems)
  const broken: Path[] = problems.map((problem) => problem.path)
  for (let round = 0; round < ROUNDS_MAX && Array.isArray(leaves); round++) {
    for (const leaf of leaves) for (const path of wrongPaths(leaf)) broken.push(takeOut(value, path))
    leaves = check(value)
  }
  return Array.isArray(leaves) ? { problems, broken } : { file: leaves, problems, broken }
}

/** The same checks for one part of a file that comes by itself. `place`: where it would stand. */
export function problemsOf<S extends z.ZodType>(
  schema: S,
  value: unknown,
  place: Path,
): { readonly data: z.output<S> } | { readonly problems: readonly Problem[] } {
  const result = schema.safeParse(value, { error: message, reportInput: true })
  if (result.success) return { data: result.data }
  const problems = result.error.issues.flatMap((issue) => leavesOf(issue, place)).flatMap(toProblems)
  return { problems: problems.map((problem) => ({ ...problem, path: problem.path.slice(place.length) })) }
}

function check(value: unknown): ParsedFile | Leaf[] {
  const result = configSchema.safeParse(value, { error: message, reportInput: true })
  return result.success ? result.data : result.error.issues.flatMap((issue) => leavesOf(issue, []))
}

/** A union tells what is wrong with each of its forms; only the form that the writer chose is of interest. */
function leavesOf(issue: z.core.$ZodIssue, prefix: Path): Leaf[] {
  const path = [...prefix, ...(issue.path as (string | number)[])]
  if (issue.code !== 'invalid_union') return [{ path, issue }]
  const isAnother = ({ path: at, code }: z.core.$ZodIssue): boolean =>
    at.length === 0 && (code === 'invalid_type' || code === 'invalid_value')
  const chosen = issue.errors.find((errors) => !errors.some(isAnother))
  return chosen === undefined ? [{ path, issue }] : chosen.flatMap((inner) => leavesOf(inner, path))
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  string: 'text',
  int: 'a whole number',
  // Every number in a configuration is a whole one.
  number: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping',
  record: 'a mapping',
}

function kindOf(value: unknown): string {
  if (typeof value === 'string') return 'text'
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : shown(value)
}

/** The schema's own messages go first; this is for the general ones. */
function message(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'invalid_type') {
    if (issue.input === undefined) return 'is missing'
    return `must be ${TYPE_WORDS[issue.expected] ?? issue.expected}, not ${kindOf(issue.input)}`
  }
  if (issue.code === 'invalid_value') {
    return issue.input === undefined ? 'is missing' : `must be ${issue.values.map(String).join(' or ')}, not ${shown(issue.input)}`
  }
  if (issue.code === 'too_small' || issue.code === 'too_big') return rangeMessage(issue)
  if (issue.code !== 'invalid_union') return undefined
  if (issue.input === undefined) return 'is missing'
  const expected = issue.errors.flatMap((errors) =>
    errors.flatMap((inner) =>
      inner.code === 'invalid_value' ? inner.values.map(String) : 'expected' in inner ? TYPE_WORDS[String(inner.expected)] : [],
    ),
  )
  const got = wordsOf(issue).length > 0 ? shown(issue.input) : kindOf(issue.input)
  return `must be ${[...new Set(expected)].filter((word) => word !== undefined).join(' or ')}, not ${got}`
}

/** Those that may stand there as they are. */
function wordsOf(issue: Pick<z.core.$ZodIssue, 'code'>): string[] {
  const { code, values = [], errors = [] } = issue as { code: string; values?: readonly unknown[]; errors?: readonly z.core.$ZodIssue[][] }
  return code === 'invalid_union' ? errors.flat().flatMap(wordsOf) : code === 'invalid_value' ? values.map(String) : []
}

function rangeMessage(issue: z.core.$ZodRawIssue<z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig>): string {
  if (issue.origin === 'array') return 'must have at least one entry'
  if (issue.origin === 'string') return 'must not be empty'
  return issue.code === 'too_small'
    ? `must be at least ${issue.minimum}, not ${shown(issue.input)}`
    : `must be at most ${issue.maximum}, not ${shown(issue.input)}`
}

function toProblems({ path, issue }: Leaf): Problem[] {
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(configJsonSchema(), path)
    return issue.keys.map((key) => ({ path: [...path, key], message: 'unknown key', suggestion: nearest(key, known), onKey: true }))
  }
  if (issue.code === 'invalid_key') return [{ path, message: issue.issues[0]?.message ?? issue.message, onKey: true }]
  const suggestion = typeof issue.input === 'string' ? nearest(issue.input, wordsOf(issue)) : undefined
  return [{ path, message: issue.message, suggestion }]
}

const TRUTH_VALUES: ReadonlyMap<string, boolean> = new Map([
  ['true', true],
  ['false', false],
])

/** What came from the environment is text; where a number or a truth value is wanted, it is read as one. True: something was changed. */
function convertNumbers(value: unknown, leaves: readonly Leaf[], isFromEnvironment: (path: Path) => boolean): boolean {
  let changed = false
  for (const { path, issue } of leaves) {
    if (issue.code !== 'invalid_type' || typeof issue.input !== 'string' || !isFromEnvironment(path)) continue
    const text = issue.input
    const wanted = issue.expected === 'boolean' ? TRUTH_VALUES.get(text) : /^-?\d{1,15}$/.test(text) ? Number(text) : undefined
    const parent = containerAt(value, path.slice(0, -1))
    const step = path.at(-1)
    if (wanted === undefined || parent === undefined || step === undefined || typeof parent[step] !== 'string') continue
    parent[step] = wanted
    changed = true
  }
  return changed
}

function wrongPaths({ path, issue }: Leaf): Path[] {
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => [...path, key])
  // What is missing cannot be taken out: its parent goes.
  return [issue.input === undefined && issue.code !== 'invalid_key' ? path.slice(0, -1) : path]
}

/** Gives the path of what was taken out or replaced in the end. */
function takeOut(value: unknown, path: Path): Path {
  const step = path.at(-1)
  if (step === undefined) return path
  const parent = containerAt(value, path.slice(0, -1))
  if (parent === undefined) return path
  if (!Array.isArray(parent)) {
    delete parent[step]
    return path
  }
  const listPath = path.slice(0, -1)
  const placeholder = PLACEHOLDERS[listPath[0] === 'pools' ? 'servers' : listPath.length === 1 ? String(listPath[0]) : '']
  if (placeholder === undefined) return takeOut(value, listPath)
  parent[Number(step)] = structuredClone(placeholder)
  return path
}

function containerAt(value: unknown, path: Path): Container | undefined {
  let at: unknown = value
  for (const step of path) {
    if (typeof at !== 'object' || at === null) return undefined
    at = (at as Container)[step]
  }
  return typeof at === 'object' && at !== null ? (at as Container) : undefined
}
