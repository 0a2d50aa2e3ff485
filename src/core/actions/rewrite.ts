/**
 * The target that a server sees, where a route rewrites it. The path is text to this: nothing in it is decoded or encoded, and the query stays as it
 * came. What comes out is held to the rules that what came was held to.
 */
import type { Failure } from '../errors.ts'
import type { PathPattern } from '../routing/pattern.ts'
import { checkPath } from '../routing/check-path.ts'
import type { Redirect, Rewrite } from './actions.ts'
import { expand } from './template.ts'

export interface RewriteFacts {
  /** As it came. */
  readonly target: string
  readonly path: string
  readonly params: Readonly<Record<string, string>>
  readonly pattern: PathPattern
}

/** Undefined: it stays as it is. */
export function rewriteTarget(rewrite: Rewrite, facts: RewriteFacts): string | undefined | Failure {
  const { strip = '', prefix = '', path: template } = rewrite
  if (template === undefined && strip === '' && prefix === '') return undefined
  const { target, path } = facts
  const raw = template === undefined ? prefix + path.slice(strip.length) : expand(template, (name) => parameterOf(name, facts))
  // A server that reads targets as URLs would take what follows two slashes for a host.
  const rewritten = `/${raw.replace(/^\/+/, '')}`
  return checkPath(rewritten) ?? rewritten + target.slice(path.length)
}

/** A parameter of the path, or what its `*` stands for. */
export function parameterOf(name: string, { params, path, pattern }: Pick<RewriteFacts, 'params' | 'path' | 'pattern'>): string {
  return name === '*' ? restOf(path, pattern) : (params[name] ?? '')
}

/** What follows the segments of an open pattern. */
function restOf(path: string, { segments, open }: PathPattern): string {
  if (!open) return ''
  let at = 0
  for (let n = 0; n <= segments.length; n++) at = path.indexOf('/', at) + 1
  return path.slice(at)
}

/** Where a client is sent. */
export function locationOf({ to }: Redirect, valueOf: (name: string) => string): string {
  const location = expand(to, valueOf)
  // What was written as a path stays one, whatever its variables stand for.
  return startsWithTwoSlashes(to.pieces[0]) ? location : location.replace(/^[/\\]{2,}/, '/')
}

function startsWithTwoSlashes(first: Redirect['to']['pieces'][number] | undefined): boolean {
  return typeof first === 'string' && first.startsWith('//')
}
