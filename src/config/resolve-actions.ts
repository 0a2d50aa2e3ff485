/** What routes do to their calls: rewrites, redirects, answers of their own, header fields. What contradicts the route's path is found here. */
import { readFileSync, statSync } from 'node:fs'
import { extname, resolve } from 'node:path'
import type { FixedAnswer, Redirect, Rewrite, RouteActions } from '../core/actions/actions.ts'
import { type EditedSide, headerEdits, type HeaderEdits, isFieldText, wrongEditedName } from '../core/actions/header-edits.ts'
import { type Template, templateText, VARIABLES, variablesOf } from '../core/actions/template.ts'
import { parsePattern, type PathPattern } from '../core/routing/pattern.ts'
import { nearest } from '../lib/nearest.ts'
import type { Bytes } from '../lib/units.ts'
import type { MatchConfig } from './config.ts'
import type { Path } from './problem.ts'
import type { Report } from './report.ts'
import type { ParsedFile, ParsedRoute } from './schema.ts'

interface Context {
  readonly report: Report
  readonly folder: string
  /** Of the route. */
  readonly path: Path
  readonly patterns: readonly PathPattern[]
  readonly answerMax: Bytes
}

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.xml': 'application/xml',
}
const TEXT = 'text/plain; charset=utf-8'

/** Undefined: the route does nothing of the kind. */
export function resolveActions(
  route: ParsedRoute,
  match: MatchConfig,
  path: Path,
  options: { readonly report: Report; readonly folder: string; readonly file: Pick<ParsedFile, 'limits' | 'serverTiming'> },
): RouteActions | undefined {
  const { report, folder, file } = options
  const patterns = [match.path, ...(match.morePaths ?? [])].map(parsePattern).filter((pattern) => typeof pattern !== 'string')
  const context: Context = { report, folder, path, patterns, answerMax: file.limits.answer }
  checkTogether(route, context)
  const { rewrite, headers } = route
  const respond = resolveRespond(route, context)
  const edits = (side: EditedSide): HeaderEdits | undefined => {
    const written = headers?.[side]
    return written && resolveEdits(written, side, context)
  }
  const [request, response] = [edits('request'), edits('response')]
  const serverTiming = respond === undefined && (route.serverTiming ?? file.serverTiming)
  const actions: RouteActions = {
    ...(rewrite && { rewrite: resolveRewrite(rewrite, match, context) }),
    ...(respond && { respond }),
    ...(request && { request }),
    ...(response && { response }),
    ...(serverTiming && { serverTiming }),
  }
  return Object.keys(actions).length === 0 ? undefined : actions
}

/** What a route may have that answers by itself. The mode has its own message. */
const ANSWERING: ReadonlySet<keyof ParsedRoute> = new Set(['match', 'redirect', 'answer', 'headers', 'cors', 'mode'])

/** A route that answers by itself asks no server. */
function checkTogether(route: ParsedRoute, { report, path }: Context): void {
  const own = route.redirect === undefined ? 'answer' : 'redirect'
  if (route[own] === undefined) return
  if (route.redirect !== undefined && route.answer !== undefined) {
    report.error({ path: [...path, 'answer'], message: 'a route has redirect or answer, not both' }, [[...path, 'redirect']])
  }
  for (const key of Object.keys(route) as (keyof ParsedRoute)[]) {
    if (ANSWERING.has(key) || route[key] === undefined) continue
    report.error({ path: [...path, key], message: `has no meaning on a route with ${own}: no server is asked` }, [[...path, own]])
  }
  if (route.headers?.request !== undefined) {
    const message = `has no meaning on a route with ${own}: no server is asked`
    report.error({ path: [...path, 'headers', 'request'], message }, [[...path, own]])
  }
  if (route.mode !== 'direct') {
    report.error({ path: [...path, 'mode'], message: `a route with ${own} keeps no jobs; leave this key out` }, [[...path, own]])
  }
}

// --- rewrites

function resolveRewrite(rewrite: NonNullable<ParsedRoute['rewrite']>, match: MatchConfig, context: Context): Rewrite {
  const { strip, prefix, path: template, host } = rewrite
  const at: Path = [...context.path, 'rewrite']
  if (strip === undefined && prefix === undefined && template === undefined && host === undefined)
    context.report.error({ path: at, message: 'says nothing: give strip, prefix, path or host' })
  if (template !== undefined && (strip ?? prefix) !== undefined) {
    const message = 'is the whole path: strip and prefix have no meaning beside it'
    context.report.error({ path: [...at, 'path'], message }, [[...at, strip === undefined ? 'prefix' : 'strip']])
  }
  const strange = strip !== undefined && [match.path, ...(match.morePaths ?? [])].find((path) => !beginsWith(path, strip))
  if (typeof strange === 'string') {
    context.report.error({ path: [...at, 'strip'], message: `the path ${strange} does not begin with it` }, [[...context.path, 'match']])
  }
  if (template !== undefined) checkPathTemplate(template, [...at, 'path'], context)
  return {
    ...(strip !== undefined && { strip }),
    ...(prefix !== undefined && { prefix }),
    ...(template !== undefined && { path: template }),
    ...(host !== undefined && { host }),
  }
}

function beginsWith(path: string, strip: string): boolean {
  return path === strip || path.startsWith(`${strip}/`)
}

function checkPathTemplate(template: Template, path: Path, context: Context): void {
  const text = templateText(template)
  if (!text.startsWith('/')) context.report.error({ path, message: 'a path begins with "/"' })
  const strange = template.pieces.find((piece) => typeof piece === 'string' && !/^[!"$->@-[\]-~]*$/.test(piece))
  if (strange !== undefined) {
    context.report.error({ path, message: 'a path holds visible ASCII without "?", "#" and backslash; the query stays as it came' })
  }
  checkVariables(template, path, { ...context, allowed: [] })
}

/** `allowed`: beside the parameters of every path of the route, and `*` where each of them ends in it. */
function checkVariables(template: Template, path: Path, context: Context & { readonly allowed: readonly string[] }): void {
  const { patterns, allowed, report } = context
  const [first, ...others] = patterns.map((pattern) => [
    ...pattern.segments.flatMap((segment) => (segment.kind === 'param' ? [segment.name] : [])),
    ...(pattern.open ? ['*'] : []),
  ])
  const known = [...(first ?? []).filter((name) => others.every((names) => names.includes(name))), ...allowed]
  for (const name of variablesOf(template)) {
    if (known.includes(name)) continue
    const near = nearest(name, known)
    const message = `there is no {${name}} here; there ${known.length === 1 ? 'is' : 'are'} ${known.map((each) => `{${each}}`).join(', ') || 'none'}`
    report.error({ path, message, suggestion: near && `{${near}}` }, [[...context.path, 'match']])
  }
}

// --- answers of the gateway itself

function resolveRespond(route: ParsedRoute, context: Context): Redirect | FixedAnswer | undefined {
  if (route.redirect !== undefined) return resolveRedirect(route.redirect, context)
  return route.answer === undefined ? undefined : resolveAnswer(route.answer, context)
}

/** What clients choose stands behind the host only: a redirect leads where it was written to lead. */
const BEFORE_PATH = /^(?:(?:[a-z][a-z0-9+.-]*|\{request\.scheme\}):)?\/\/([^/?#]*)/i
const HOSTS: readonly string[] = ['request.host', 'request.hostname']

function resolveRedirect({ to, status }: NonNullable<ParsedRoute['redirect']>, context: Context): Redirect {
  const path: Path = [...context.path, 'redirect', 'to']
  const text = templateText(to)
  const authority = BEFORE_PATH.exec(text)
  if (authority === null && !text.startsWith('/') && !text.startsWith('{request.path}') && !text.startsWith('{request.target}')) {
    context.report.error({ path, message: 'is a path, or a URL such as https://www.example.com{request.target}' })
  }
  const variables = [...(authority?.[1] ?? '').matchAll(/\{([^}]*)\}/g)].map(([, name]) => name as string)
  // A path begins with a slash, which ends the host.
  const ends = variables.findIndex((name) => name === 'request.path' || name === 'request.target')
  const strange = variables.slice(0, ends < 0 ? undefined : ends).find((name) => !HOSTS.includes(name))
  if (strange !== undefined) context.report.error({ path, message: `{${strange}} could lead anywhere: put a "/" before it` })
  if (to.pieces.some((piece) => typeof piece === 'string' && !/^[!-~]*$/.test(piece)))
    context.report.error({ path, message: 'holds visible ASCII only; encode anything else' })
  checkVariables(to, path, { ...context, allowed: Object.keys(VARIABLES).filter((name) => name !== 'server.name') })
  return { kind: 'redirect', status, to }
}

function resolveAnswer(answer: NonNullable<ParsedRoute['answer']>, context: Context): FixedAnswer {
  const { status, body, file } = answer
  const path: Path = [...context.path, 'answer']
  if (body !== undefined && file !== undefined)
    context.report.error({ path: [...path, 'file'], message: 'an answer has body or file, not both' })
  if ((status === 204 || status === 304) && (body ?? file) !== undefined)
    context.report.error({ path: [...path, 'status'], message: `an answer with ${status} has no body` })
  const bytes = file === undefined ? undefined : readAnswer(file, path, context)
  const headers = answerHeaders(answer.headers, path, context.report)
  const isTyped = headers.some((name, i) => i % 2 === 0 && name.toLowerCase() === 'content-type')
  const type = file === undefined ? TEXT : (CONTENT_TYPES[extname(file).toLowerCase()] ?? TEXT)
  if (!isTyped && (body ?? file) !== undefined) headers.unshift('Content-Type', type)
  return { kind: 'answer', status, headers, body: bytes ?? body ?? '' }
}

function readAnswer(file: string, path: Path, { folder, report, answerMax }: Context): Uint8Array | undefined {
  const name = resolve(folder, file)
  try {
    const { size } = statSync(name)
    if (size <= answerMax) return readFileSync(name)
    report.error({ path: [...path, 'file'], message: `${file} has ${size} bytes, more than limits.answer (${answerMax})` }, [['limits']])
  } catch (error) {
    report.error({ path: [...path, 'file'], message: `${file} cannot be read: ${error instanceof Error ? error.message : String(error)}` })
  }
  return undefined
}

function answerHeaders(written: Readonly<Record<string, string>>, path: Path, report: Report): string[] {
  return Object.entries(written).flatMap(([name, value]) => {
    const at: Path = [...path, 'headers', name]
    const wrong = wrongEditedName(name, 'response') ?? (isFieldText(value) && isAscii(value) ? undefined : VALUE)
    if (wrong !== undefined) report.error({ path: at, message: wrong === VALUE ? wrong : `${name} ${wrong}` })
    return [name, value]
  })
}

// --- header fields

const VALUE = 'holds visible ASCII and blanks only'

function isAscii(text: string): boolean {
  return /^[\t\x20-\x7e]*$/.test(text)
}

function resolveEdits(
  { set, add, remove }: NonNullable<NonNullable<ParsedRoute['headers']>['request']>,
  side: EditedSide,
  context: Context,
): HeaderEdits {
  const path: Path = [...context.path, 'headers', side]
  const allowed = Object.keys(VARIABLES).filter((name) => name !== 'server.name' || side === 'response')
  const lines: (readonly [string, Template])[] = []
  const line = (key: 'set' | 'add', name: string, template: Template): void => {
    const at: Path = [...path, key, name]
    if (template.pieces.some((piece) => typeof piece === 'string' && !isAscii(piece))) context.report.error({ path: at, message: VALUE })
    checkVariables(template, at, { ...context, allowed })
    lines.push([name, template])
  }
  const checkEditedName = (name: string, at: Path): void => {
    const wrong = wrongEditedName(name, side)
    if (wrong !== undefined) context.report.error({ path: at, message: `${name} ${wrong}` })
  }
  const drop = new Set<string>()
  for (const [i, name] of remove.entries()) {
    checkEditedName(name, [...path, 'remove', i])
    drop.add(name)
  }
  for (const [name, template] of Object.entries(set)) {
    checkEditedName(name, [...path, 'set', name])
    if (drop.has(name.toLowerCase()))
      context.report.error({ path: [...path, 'set', name], message: `is set and removed, or set twice` }, [[...path, 'remove']])
    drop.add(name.toLowerCase())
    line('set', name, template)
  }
  for (const [name, templates] of Object.entries(add)) {
    checkEditedName(name, [...path, 'add', name])
    for (const template of Array.isArray(templates) ? templates : [templates]) line('add', name, template)
  }
  return headerEdits(drop, lines)
}
