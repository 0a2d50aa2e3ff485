/** Writes a draft as a configuration in YAML, each part with the line that it comes from, and at the end what was not translated. */
import type { ValueTest } from '../../core/routing/value-test.ts'
import {
  type Draft,
  type DraftMatch,
  type DraftPool,
  type DraftRoute,
  type Note,
  placeText,
  type Setting,
  type SourceLine,
} from './draft.ts'

interface Line {
  readonly text: string
  readonly source?: SourceLine
  readonly remark?: string
}

export function writeDraft(draft: Draft, from: string): string {
  const lines: Line[] = [
    { text: `# Made by "spillway import" from ${oneLine(from)}. What stands behind "#" is where it comes from.` },
    { text: '# Look through it, and at the end for what was not translated; then: spillway check' },
    ...section(
      'listeners:',
      draft.listeners.map((listener) => ({
        text: `  - ${listener.keys.length === 0 ? quoted(listener.address) : mapping([['address', quoted(listener.address)], ...listener.keys])}`,
        source: listener.source,
      })),
    ),
    ...section('pools:', draft.pools.flatMap(poolLines)),
    ...section('routes:', draft.routes.flatMap(routeLines)),
    ...settingLines(draft.settings),
    ...noteLines(draft.notes),
  ]
  return `${lines.map(lineText).join('\n')}\n`
}

function section(title: string, lines: readonly Line[]): Line[] {
  return lines.length === 0 ? [] : [{ text: '' }, { text: title }, ...lines]
}

function lineText({ text, source, remark }: Line): string {
  if (source === undefined) return text
  return `${text}  # ${placeText(source.at)}  ${shortened(source.text)}${remark === undefined ? '' : `  (${oneLine(remark)})`}`
}

function poolLines({ name, servers, settings, source }: DraftPool): Line[] {
  return [
    { text: `  ${quoted(name)}:`, source },
    { text: '    servers:' },
    ...servers.map((server) => ({ text: `      - ${serverText(server)}`, source: server.source })),
    ...settings.map((setting) => ({ ...withPlace(setting), text: `    ${nested(setting)}` })),
  ]
}

function serverText({ url, weight, backup }: DraftPool['servers'][number]): string {
  const pairs: [string, string][] = [['url', quoted(url)]]
  if (weight !== undefined) pairs.push(['weight', String(weight)])
  if (backup) pairs.push(['backup', 'true'])
  return mapping(pairs)
}

function routeLines({ match, keys, source, off }: DraftRoute): Line[] {
  const line: Line = { text: `  - ${mapping([['match', matchText(match)], ...keys])}`, source }
  return off === undefined ? [line] : [{ text: `  # refused: ${oneLine(off)}` }, line]
}

function matchText({ host, path, methods, headers, query }: DraftMatch): string {
  const pairs: [string, string][] = []
  if (host !== undefined) pairs.push(['host', quoted(host)])
  pairs.push(['path', quoted(path)])
  if (methods.length > 0) pairs.push(['method', `[${methods.map(quoted).join(', ')}]`])
  for (const [key, tests] of Object.entries({ headers, query })) {
    const fields = Object.entries(tests)
    if (fields.length > 0) pairs.push([key, mapping(fields.map(([name, test]) => [quoted(name), testOf(test)]))])
  }
  return mapping(pairs)
}

/** As a configuration has it. */
function testOf(test: ValueTest): string {
  if (typeof test === 'string') return quoted(test)
  if ('in' in test) return `[${test.in.map(quoted).join(', ')}]`
  if ('not' in test) return `{ not: ${testOf(test.not)} }`
  return mapping(Object.entries(test).map(([key, value]) => [key, typeof value === 'string' ? quoted(value) : String(value)]))
}

/** Settings with the same first key stand below it. */
function settingLines(settings: readonly Setting[]): Line[] {
  const tops = [...new Set(settings.map(({ path }) => path[0] as string))]
  return tops.flatMap((top) => {
    const own = settings.filter(({ path }) => path[0] === top)
    const [first] = own
    if (first !== undefined && first.path.length === 1) return [{ text: '' }, { ...withPlace(first), text: nested(first) }]
    return section(
      `${top}:`,
      own.map((setting) => ({ ...withPlace(setting), text: `  ${nested({ ...setting, path: setting.path.slice(1) })}` })),
    )
  })
}

function withPlace({ source, remark }: Setting): Omit<Line, 'text'> {
  return { source, ...(remark !== undefined && { remark }) }
}

function nested({ path, value }: Pick<Setting, 'path' | 'value'>): string {
  const [first = '', ...rest] = path
  const inner = rest.reduceRight((text, key) => `{ ${key}: ${text} }`, value)
  return `${first}: ${inner}`
}

function noteLines(notes: readonly Note[]): Line[] {
  const of = (kind: Note['kind'], title: string): Line[] => {
    const own = notes.filter((note) => note.kind === kind)
    return own.length === 0 ? [] : [{ text: '' }, { text: `# ${title}` }, ...own.map((note) => ({ text: `#   ${noteText(note)}` }))]
  }
  return [...of('left', 'Not translated: it does not hold here, or not quite.'), ...of('needless', 'Needs no translation.')]
}

/** For a report, too. */
export function noteText({ source, reason }: Note): string {
  return `${placeText(source.at)}  ${shortened(source.text)}  -> ${oneLine(reason)}`
}

export function mapping(pairs: readonly (readonly [string, string])[]): string {
  return `{ ${pairs.map(([key, value]) => `${key}: ${value}`).join(', ')} }`
}

/** Plain where that cannot mean anything else. JSON is YAML. */
export function quoted(text: string): string {
  return /^[A-Za-z][A-Za-z0-9_./:-]*[A-Za-z0-9_/-]$/.test(text) && !/^(true|false|null|yes|no|on|off)$/i.test(text)
    ? text
    : JSON.stringify(text)
}

/** A comment must not end before its line. */
function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029\ufeff]+/gu, ' ')
}

function shortened(text: string): string {
  const line = oneLine(text).trim()
  return line.length > 100 ? `${line.slice(0, 99)}…` : line
}
