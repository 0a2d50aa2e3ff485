/**
 * Reads a configuration: a YAML file, or a `.ts`/`.js` module whose default export it is. Never throws for what stands in it: the answer is
 * the configuration, or everything that is wrong with it, one line each.
 */
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Config } from './config.ts'
import { parseValue } from './parse.ts'
import type { Path, Problem } from './problem.ts'
import { problemText } from './problem.ts'
import { resolveConfig } from './resolve.ts'
import type { Environment, PlacedProblem, Source } from './source.ts'
import { moduleSource, yamlSource } from './source.ts'

export type LoadResult =
  | { readonly ok: true; readonly config: Config; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly errors: readonly string[]; readonly warnings: readonly string[] }

export interface ReadOptions {
  /** For messages, as the user named it. */
  readonly file: string
  /** Where relative paths start. */
  readonly folder: string
}

/** `file`: as the user named it, relative to the working directory. */
export async function loadConfig(file: string, environment: Environment = process.env): Promise<LoadResult> {
  const path = resolve(file)
  const options = { file, folder: dirname(path) }
  if (/\.[cm]?[jt]s$/.test(file)) return await loadModule(path, options)
  try {
    return readConfig(yamlSource(await readFile(path, 'utf8'), environment), options)
  } catch (error) {
    return failed(file, `cannot be read: ${reason(error)}`)
  }
}

/** The same for a text at hand. */
export function loadText(text: string, options: ReadOptions, environment: Environment): LoadResult {
  return readConfig(yamlSource(text, environment), options)
}

/** The same for a value, such as one made from arguments. */
export function loadValue(value: unknown, options: ReadOptions): LoadResult {
  return readConfig(moduleSource(value), options)
}

let moduleReads = 0

async function loadModule(path: string, options: ReadOptions): Promise<LoadResult> {
  try {
    // A module is read once for each address; a reload wants it as it is now.
    const again = moduleReads++ === 0 ? '' : `?read=${moduleReads}`
    const module = (await import(`${pathToFileURL(path).href}${again}`)) as { readonly default?: unknown }
    if (module.default === undefined) return failed(options.file, 'has no default export; write: export default defineConfig({ … })')
    // A copy, because reading changes it; it also refuses what is not plain data.
    return loadValue(structuredClone(module.default), options)
  } catch (error) {
    return failed(options.file, `cannot be loaded: ${reason(error)}`)
  }
}

function failed(file: string, message: string): LoadResult {
  return { ok: false, errors: [problemText(file, undefined, { path: [], message })], warnings: [] }
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if ('code' in error && error.code === 'ENOENT') return 'there is no such file; `spillway init` writes one'
  if ('code' in error && error.code === 'EISDIR') return 'it is a folder'
  return error.message.split('\n')[0] ?? error.name
}

function readConfig(source: Source, options: ReadOptions): LoadResult {
  const { value } = source
  if (value === undefined || value === null) {
    const empty = { path: [], message: 'is empty; it needs at least routes, or queues' }
    return { ok: false, errors: lines(source.problems.length > 0 ? source.problems : [empty], options.file, source), warnings: [] }
  }
  const names = { poolNames: keysOf(value, 'pools'), queueNames: keysOf(value, 'queues') }
  const parsed = parseValue(value, (path) => source.isFromEnvironment(path))
  // What the environment did not give has been reported; what became of the empty text need not be.
  const missing = source.problems.map((problem) => problem.path)
  const problems: PlacedProblem[] = [...source.problems, ...parsed.problems.filter((problem) => !touchesAny(problem.path, missing))]
  const broken = [...parsed.broken, ...missing]
  const warnings: Problem[] = []
  const report = {
    error: (problem: Problem, needs: readonly Path[] = []): void => {
      if (![problem.path, ...needs].some((path) => touchesAny(path, broken))) problems.push(problem)
    },
    warn: (problem: Problem): void => void warnings.push(problem),
  }
  const config = parsed.file && resolveConfig(parsed.file, { ...options, ...names, report })
  const errors = lines(problems, options.file, source)
  if (config === undefined || errors.length > 0) return { ok: false, errors, warnings: [] }
  return { ok: true, config, warnings: lines(warnings, options.file, source) }
}

function keysOf(value: unknown, key: string): string[] {
  if (typeof value !== 'object' || value === null) return []
  const inner = (value as Record<string, unknown>)[key]
  return typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? Object.keys(inner) : []
}

/** Is one of the others the same place, inside of it, or around it? */
function touchesAny(path: Path, others: readonly Path[]): boolean {
  return others.some((other) => path.slice(0, other.length).every((step, i) => step === other[i]))
}

/** Turns problems into lines, in the order of the file. */
function lines(problems: readonly PlacedProblem[], file: string, source: Source): string[] {
  const placed = problems.map((problem) => {
    const located = source.locate(problem.path, problem.onKey === true ? 'key' : 'value')
    const place = problem.place ?? located.place
    return { place, text: problemText(file, place, { ...problem, path: located.path }) }
  })
  placed.sort((a, b) => (a.place?.line ?? 0) - (b.place?.line ?? 0) || (a.place?.column ?? 0) - (b.place?.column ?? 0))
  return [...new Set(placed.map(({ text }) => text))]
}
