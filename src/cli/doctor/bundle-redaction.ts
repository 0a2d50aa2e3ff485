/**
 * Takes out of a support bundle what must not leave the house: what the configuration holds as a secret, every value that came from the
 * environment, credentials of every form, job tokens. Errs on the side of removing: a harmless word that is also a secret goes, too.
 */
import type { Config, MatchConfig, WebhooksConfig } from '../../config/config.ts'
import type { RouteActions } from '../../core/actions/actions.ts'
import { templateText } from '../../core/actions/template.ts'
import { textsOf } from '../../core/routing/value-test.ts'
import { parseDuration } from '../../lib/duration.ts'
import { parseSize } from '../../lib/size.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** Names of keys, headers, query parameters and variables whose values are nobody's business. */
const SENSITIVE = /token|secret|passw|passphrase|credential|authorization|cookie|signature|api[-_]?key|access[-_]?key|private[-_]?key/i
/** A shorter text is removed only where it stands alone: as a part of others it would take half of the bundle with it. */
const PART_LENGTH_MIN = 4
/** Variables that are only called so (their value is not in the configuration) must be longer, or `TOKEN=on` would remove every "on". */
const CALLED_SO_LENGTH_MIN = 8

const CREDENTIALS: readonly (readonly [pattern: RegExp, kept: string])[] = [
  // A job's token or an attempt's receipt: the id stays.
  [/\b([0-9a-hjkmnp-tv-z]{11})(?:(?:\.|%2e)[A-Za-z0-9_-]+)*(?:\.|%2e)[A-Za-z0-9_-]{20,}/gi, '$1'],
  [/\b(bearer|basic|digest|negotiate)(\s+)[^\s"',]+/gi, '$1$2***'],
  [/(\/\/)[^/?#\s"@]+@/g, '$1***@'],
  // A JSON web token, wherever it comes from.
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*/g, '***'],
]

interface Secret {
  readonly text: string
  readonly shown: string
}

export class Redaction {
  readonly #alone = new Map<string, string>()
  readonly #parts: { readonly pattern: RegExp; readonly shown: string }[] = []
  /** What variables mean as a number: a duration, a size, a count. */
  readonly #numbers = new Map<number, string>()

  constructor(secrets: readonly Secret[]) {
    // Longest first, so that a secret that holds another one goes as a whole.
    for (const { text, shown } of [...secrets].sort((a, b) => b.text.length - a.text.length)) {
      if (text === '') continue
      this.#alone.set(text.toLowerCase(), shown)
      for (const value of [Number(text), parseDuration(text), parseSize(text)]) {
        if (value !== undefined && Number.isFinite(value) && text.trim() !== '') this.#numbers.set(value, shown)
      }
      if (text.length < PART_LENGTH_MIN) continue
      const forms = new Set([text, JSON.stringify(text).slice(1, -1), encodeURIComponent(text.toWellFormed())])
      for (const form of forms) this.#parts.push({ pattern: new RegExp(literally(form), 'gi'), shown })
    }
  }

  text(text: string): string {
    const alone = this.#alone.get(text.toLowerCase())
    if (alone !== undefined) return alone
    let kept = text
    for (const { pattern, shown } of this.#parts) kept = kept.replace(pattern, () => shown)
    for (const [pattern, replacement] of CREDENTIALS) kept = kept.replace(pattern, replacement)
    return kept
  }

  /** Of metrics only what stands in quotes: a figure is no secret, and one that happens to look like it must stay. */
  metrics(text: string): string {
    return text.replace(/"(?:[^"\\\n]|\\.)*"/g, (quoted) => `"${this.text(quoted.slice(1, -1))}"`)
  }

  /** Of plain data every text, also in names; what stands under a sensitive name, whole. */
  data(value: unknown): unknown {
    return this.#walk(value, false)
  }

  /** Of the configuration also numbers that a variable may have become. */
  config(config: Config): unknown {
    return this.#walk(withoutContents(config), true)
  }

  #walk(value: unknown, numbersToo: boolean): unknown {
    if (typeof value === 'string') return this.text(value)
    if (typeof value === 'number') return numbersToo ? (this.#numbers.get(value) ?? value) : value
    if (Array.isArray(value)) return value.map((item) => this.#walk(item, numbersToo))
    if (typeof value !== 'object' || value === null) return value
    const walked = Object.entries(value).map(([key, inner]) => {
      const isSecret = SENSITIVE.test(key) && typeof inner !== 'boolean'
      return [this.text(key), isSecret ? '***' : this.#walk(inner, numbersToo)] as const
    })
    return Object.fromEntries(walked)
  }
}

function literally(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&')
}

/** Routes may match on a header's value, and that may be what opens the door. Which header it is may be known. Jobs of schedules have bodies. */
function withoutContents(config: Config): Config {
  const hidden = (pairs: MatchConfig['headers']): MatchConfig['headers'] =>
    pairs.map(([name, value]) => [name, SENSITIVE.test(name) ? '***' : value] as const)
  const routes = config.routes.map((route) => {
    const { headers, query } = route.match
    const { actions, ...rest } = route
    const match = { ...route.match, headers: hidden(headers), query: hidden(query) }
    return { ...rest, match, ...(actions !== undefined && { actions: withoutValues(actions) }) }
  })
  const schedules = config.schedules.map(({ name, document }) => ({ name, document: { ...document, job: { queue: document.queue } } }))
  return { ...config, routes, schedules, ...(config.webhooks !== undefined && { webhooks: withoutReceivers(config.webhooks) }) }
}

/** What servers are sent may be what opens them; answers are seen by everybody, but long. */
function withoutValues({ request, respond, ...rest }: RouteActions): RouteActions {
  const shut = request && { ...request, lines: request.lines.map(([name]) => [name, { pieces: ['***'] }] as const) }
  const short = respond?.kind === 'answer' ? { ...respond, body: `(${respond.body.length} bytes)` } : respond
  return { ...rest, ...(shut && { request: shut }), ...(short && { respond: short }) }
}

/** Receivers are opened by headers, whatever they are called, and by what stands in a URL behind its path. */
function withoutReceivers(webhooks: WebhooksConfig): WebhooksConfig {
  const endpoints = webhooks.endpoints.map((endpoint) => {
    const headers = Object.fromEntries(Object.keys(endpoint.headers).map((name) => [name, '***']))
    return { ...endpoint, url: endpoint.url.replace(/\?.*$/s, '?***'), headers }
  })
  return { ...webhooks, endpoints }
}

/** `text`: of the configuration file, for the variables that it names. */
export function redactionFor(config: Config, text: string, environment: Environment): Redaction {
  const secrets: Secret[] = secretsIn(config).map((secret) => ({ text: secret, shown: '***' }))
  for (const route of config.routes) {
    for (const [name, test] of [...route.match.headers, ...route.match.query]) {
      if (SENSITIVE.test(name)) secrets.push(...textsOf(test).map((text) => ({ text, shown: '***' })))
    }
    for (const [, value] of route.actions?.request?.lines ?? []) secrets.push({ text: templateText(value), shown: '***' })
  }
  for (const { headers } of config.webhooks?.endpoints ?? []) {
    for (const value of Object.values(headers)) secrets.push({ text: value, shown: '***' })
  }
  const named = variablesIn(text)
  for (const [name, value = ''] of Object.entries(environment)) {
    const counts = named.has(name) || (SENSITIVE.test(name) && value.length >= CALLED_SO_LENGTH_MIN)
    if (counts) secrets.push({ text: value, shown: `\${${name}}` })
  }
  return new Redaction(secrets)
}

/** `${NAME}` of a YAML file, `process.env.NAME` or `process.env['NAME']` of a module. */
function variablesIn(text: string): ReadonlySet<string> {
  const found = text.matchAll(/\$\{([A-Za-z_][A-Za-z0-9_]*)|\benv(?:\?\.|\.)([A-Za-z_][A-Za-z0-9_]*)|\benv\[\s*['"`]([^'"`]+)['"`]/g)
  return new Set([...found].flatMap(([, yaml, dotted, quoted]) => yaml ?? dotted ?? quoted ?? []))
}

/** Every text that stands under a sensitive name, at any depth. */
function secretsIn(value: unknown, isUnder = false): string[] {
  if (typeof value === 'string') return isUnder ? [value] : []
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) => secretsIn(inner, isUnder || SENSITIVE.test(key)))
}
