/** `spillway explain`: which route a request takes, what that means for it, and why it takes no other. */
import type { Config, PoolConfig, RouteConfig, SplitConfig, StickyConfig } from '../../config/config.ts'
import { checkPath } from '../../core/routing/check-path.ts'
import { sourceText } from '../../config/source-text.ts'
import { failoverChain } from '../../core/routing/failover.ts'
import type { RoutableHead, Verdict } from '../../core/routing/router.ts'
import { compileRoutes } from '../../core/routing/router.ts'
import { TARGET, TOKEN } from '../../http1/chars.ts'
import { spanText } from '../../telemetry/event-text.ts'
import { actionLines, type ExplainedActions, explainActions } from '../explained-actions.ts'
import type { Arguments, Command, Io } from '../command.ts'
import { EXIT } from '../command.ts'
import { DEFAULT_FILE, readConfigOrTell } from '../config-argument.ts'

export const explainCommand: Command = {
  name: 'explain',
  positionals: ['METHOD', 'PATH'],
  summary: 'Tell which route a request takes, and why. Exit code 1 when none does.',
  options: {
    host: { type: 'string', value: 'HOST', help: "the request's Host" },
    header: { type: 'string', multiple: true, value: "'NAME: VALUE'", help: 'a header of the request' },
    file: { type: 'string', short: 'f', value: 'FILE', help: `the configuration (default: ${DEFAULT_FILE})` },
    json: { type: 'boolean', help: 'print {route, actions, verdicts}' },
  },
  async run(args, io) {
    const head = readHead(args)
    if (typeof head === 'string') {
      io.err(`spillway explain: ${head}\n`)
      return EXIT.usage
    }
    const config = await readConfigOrTell(args.text('file'), io)
    if (config === undefined) return EXIT.usage
    const refused = checkPath(head.path)?.detail
    const reserved = head.path === config.jobs.path || head.path.startsWith(`${config.jobs.path}/`)
    const router = compileRoutes(config.routes)
    const asked = refused === undefined && !reserved
    const verdicts = asked ? router.explain(head) : []
    const match = asked ? router.find(head) : undefined
    const taken = match?.route
    const actions = match === undefined ? {} : explainActions(match, head)
    if (args.has('json')) printJson(io, taken, { actions, verdicts })
    else if (refused !== undefined) io.out(`400: ${refused}; no route is asked\n`)
    else if (reserved) io.out(`${config.jobs.path} is where job URLs live; no route is asked\n`)
    else printVerdicts(io, { verdicts, actions }, config)
    return taken === undefined && !reserved ? EXIT.failed : EXIT.ok
  },
}

function readHead(args: Arguments): RoutableHead | string {
  const [method = '', target = ''] = args.positionals
  if (!consistsOf(method, TOKEN)) return `METHOD is a word such as GET; ${JSON.stringify(method)} is not`
  if (!target.startsWith('/')) return `PATH begins with "/"; ${JSON.stringify(target)} does not`
  if (!consistsOf(target, TARGET)) return `PATH is visible ASCII without "#", as in a request line; ${JSON.stringify(target)} is not`
  const headers: string[] = []
  for (const text of args.texts('header')) {
    const at = text.indexOf(':')
    if (!consistsOf(text.slice(0, Math.max(at, 0)).trim(), TOKEN)) return `--header wants 'NAME: VALUE', not ${JSON.stringify(text)}`
    headers.push(text.slice(0, at).trim(), text.slice(at + 1).trim())
  }
  const at = target.indexOf('?')
  const [path, query] = at === -1 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)]
  return { method: method.toUpperCase(), host: (args.text('host') ?? '').toLowerCase(), path, query, headers }
}

/** By the tables of the gateway's own parser: what it would refuse takes no route. */
function consistsOf(text: string, allowed: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (allowed[text.charCodeAt(i)] !== 1) return false
  return text !== ''
}

interface Explained {
  readonly verdicts: readonly Verdict[]
  readonly actions: ExplainedActions
}

function printJson(io: Io, taken: RouteConfig | undefined, { verdicts, actions }: Explained): void {
  const told = verdicts.map(({ route, outcome, reason }) => ({ route: route.name, outcome, reason }))
  io.out(
    `${JSON.stringify({ route: taken?.name ?? null, ...(Object.keys(actions).length > 0 && { actions }), verdicts: told }, undefined, 2)}\n`,
  )
}

function printVerdicts(io: Io, { verdicts, actions }: Explained, config: Config): void {
  const taken = verdicts.find((verdict) => verdict.outcome === 'taken')
  io.out(taken === undefined ? 'no route matches: 404\n' : `${taken.route.name}\n  ${meaningText(taken.route, config)}\n`)
  for (const line of actionLines(actions)) io.out(`  ${line}\n`)
  const others = verdicts.filter((verdict) => verdict !== taken)
  if (others.length > 0) io.out('\nthe other routes, in order of precedence:\n')
  const width = Math.max(0, ...others.map(({ route }) => route.name.length))
  for (const { route, reason } of others) io.out(`  ${route.name.padEnd(width)}  ${reason}\n`)
}

function meaningText(route: RouteConfig, config: Config): string {
  const pool = config.pools.find(({ name }) => name === route.pool)
  const worker = route.split === undefined ? workerText(pool) : splitText(route.split, config)
  if (route.actions?.respond !== undefined) return 'the gateway answers by itself'
  const parts = [`mode ${route.mode}`, worker]
  if (route.queue !== undefined) parts.push(`queue ${route.queue}`)
  if (route.waitMs > 0) parts.push(`held up to ${spanText(route.waitMs)}, then ${route.onWait}`)
  if (route.priority !== undefined) parts.push(`priority ${route.priority}`)
  if (route.tunnels?.max !== undefined) parts.push(`at most ${route.tunnels.max} tunnels`)
  if (route.key !== undefined) parts.push(`key ${route.key.from}:${route.key.name}`)
  if (route.sticky !== undefined) parts.push(stickyText(route.sticky))
  parts.push(...triesText(route))
  if (route.mode !== 'queue') parts.push(...failoverTexts(route, config))
  return parts.join('; ')
}

/** What makes servers be asked more than once. */
function triesText({ timeoutMs, retry, hedge, mirror }: RouteConfig): string[] {
  const { statuses = [], tries } = retry ?? {}
  return [
    ...(timeoutMs === undefined || timeoutMs === 0 ? [] : [`over after ${spanText(timeoutMs)}`]),
    ...(tries === undefined ? [] : [tries === 1 ? 'one try' : `up to ${tries} tries`]),
    ...(statuses.length === 0 ? [] : [`retried on ${statuses.length < 10 ? statuses.join(', ') : `${statuses.length} statuses`}`]),
    ...(hedge === undefined
      ? []
      : [`hedged after ${hedge.afterMs === undefined ? `p${Number(((hedge.quantile ?? 0) * 100).toFixed(1))}` : spanText(hedge.afterMs)}`]),
    ...(mirror === undefined ? [] : [`${Number((mirror.share * 100).toFixed(2))} % copied to pool ${mirror.pool}`]),
  ]
}

function workerText(pool: PoolConfig | undefined): string {
  return pool === undefined ? 'pull consumers' : poolText(pool)
}

function splitText({ shares, by }: SplitConfig, { pools }: Config): string {
  const total = shares.reduce((sum, { weight }) => sum + weight, 0)
  const texts = shares.map((share) => {
    const pool = pools.find(({ name }) => name === share.pool)
    return `${workerText(pool)} ${Number(((share.weight / total) * 100).toFixed(2))} %`
  })
  return `${texts.join(', ')}, ${by === undefined ? 'drawn for each request' : `by ${sourceText(by)}`}`
}

function stickyText({ cookie }: StickyConfig): string {
  return cookie.by === 'gateway' ? `sticky by the cookie ${cookie.name}` : `sticky by the application's cookie ${cookie.name}`
}

function poolText({ name, servers }: PoolConfig): string {
  return `pool ${name} (${servers.map((server) => (server.backup === true ? `backup ${server.name}` : server.name)).join(', ')})`
}

/** What gets the requests of a pool when it cannot. */
function failoverTexts({ pool, split }: RouteConfig, config: Config): string[] {
  const names = split?.shares.map((share) => share.pool) ?? [pool]
  return config.pools.filter(({ name, failover }) => failover !== undefined && names.includes(name)).map((one) => failoverText(one, config))
}

function failoverText(pool: PoolConfig, { pools }: Config): string {
  const chain = failoverChain(pool, ({ failover }) => pools.find(({ name }) => name === failover?.pool))
  const steps = chain
    .slice(1)
    .map((one, i) => `${poolText(one)} when ${chain[i]?.name} is ${chain[i]?.failover?.when === 'full' ? 'down or full' : 'down'}`)
  return `then ${steps.join(', then ')}`
}
