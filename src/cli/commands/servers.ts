/** `spillway servers`: who is in the pools of a running gateway, what each is doing and why, and an operator's changes to it. */
import { isMapping } from '../../lib/mapping.ts'
import { type Arguments, type Command, complain, EXIT, type Io } from '../command.ts'
import type { CommandGroup } from '../command-group.ts'
import { listOf, textOf } from '../job-facts.ts'
import { connect, CONNECTION_DETAILS, CONNECTION_OPTIONS, JSON_OPTION, type QueueApi, segment } from '../queue-api.ts'
import { plural, shown, table } from '../words.ts'

const OPTIONS = { ...CONNECTION_OPTIONS, json: JSON_OPTION }
const HOLDS = 'It holds over restarts and reloads, until it is changed again or `spillway servers reset POOL` is called.'

interface ServerFacts {
  readonly pool: string
  readonly name: string
  readonly state: string
  readonly weight: string
  /** As it says itself; empty: it says nothing. */
  readonly load: string
  readonly inFlight: string
  readonly source: string
  readonly because: string
}

const list: Command = {
  name: 'servers list',
  positionals: ['[POOL]'],
  summary: 'The servers of a pool, or of all: state, weight, what is in flight, who says that it is there, and why it is as it is.',
  details: CONNECTION_DETAILS,
  options: OPTIONS,
  async run(args, io) {
    const api = await connect(args, io, 'servers list')
    if (api === undefined) return EXIT.usage
    const named = args.positionals[0]
    const names = named === undefined ? await poolNames(api) : [named]
    if ('wrong' in names) return complain(io, 'servers list', names.wrong)
    const documents: unknown[] = []
    for (const name of names) {
      const told = await api.get(`v1/pools/${segment(name)}`)
      if ('wrong' in told) return complain(io, 'servers list', told.wrong)
      documents.push(told.value.document)
    }
    io.out(args.has('json') ? `${JSON.stringify({ pools: documents }, undefined, 2)}\n` : listText(documents))
    return EXIT.ok
  },
}

const add = changing({
  word: 'add',
  summary: 'Puts a server into a pool, or back into it, and checks it at once.',
  details: `SERVER is a host with its port: 10.0.0.7:3000. One that is in the file is as the file says again, but for what is asked for here. ${HOLDS}`,
  options: { weight: { type: 'string', value: 'N', help: 'its weight, 1 to 1000 (default: that of the file, else 1)' } },
  method: 'PUT',
  document: (args) => {
    const weight = args.text('weight')
    return weight === undefined ? {} : { weight: weightOf(weight) }
  },
})

const remove = changing({
  word: 'remove',
  summary: "Takes a server out of a pool: nothing new goes there, what runs may end within the pool's drainTimeout, then it is gone.",
  details: HOLDS,
  method: 'DELETE',
})

const weight = changing({
  word: 'weight',
  last: 'N',
  summary: 'Sets the weight of a server, from 1 to 1000; `file`: as it says there.',
  details: HOLDS,
  method: 'PATCH',
  document: (_, value) => ({ weight: value === 'file' ? null : weightOf(value) }),
})

const drain = duty(
  'drain',
  'Nothing new goes to a server: no request, no job. What runs there may end, for as long as it takes. It is still checked.',
)
const ready = duty('ready', 'A server that was drained, or in maintenance, is used again; slowly at first.')
const maint = duty('maint', 'As drain, and it is not checked any more either: for work on the server.')

const reset: Command = {
  name: 'servers reset',
  positionals: ['POOL'],
  summary: 'Forgets what was changed about the servers of a pool: from now on they are as in the file.',
  details: CONNECTION_DETAILS,
  options: OPTIONS,
  async run(args, io) {
    const api = await connect(args, io, 'servers reset')
    if (api === undefined) return EXIT.usage
    const pool = args.positionals[0] ?? ''
    const told = await api.delete(`v1/pools/${segment(pool)}/changes`)
    if ('wrong' in told) return complain(io, 'servers reset', told.wrong)
    const { document, text } = told.value
    const count = isMapping(document) && typeof document['changed'] === 'number' ? document['changed'] : 0
    io.out(args.has('json') ? `${text}\n` : `pool ${shown(pool)} is as in the file; ${plural(count, 'change')} forgotten\n`)
    return EXIT.ok
  },
}

export const serversGroup: CommandGroup = {
  name: 'servers',
  summary: 'Servers of the pools while the gateway runs: list, add, remove, weight, drain, ready, maint, reset.',
  commands: [list, add, remove, weight, drain, ready, maint, reset],
  fallback: list,
}

interface Changing {
  readonly word: string
  readonly summary: string
  readonly details: string
  readonly method: 'PUT' | 'PATCH' | 'DELETE'
  /** A positional behind the server. */
  readonly last?: string
  readonly options?: Command['options']
  readonly document?: (args: Arguments, last: string) => unknown
}

function duty(word: 'drain' | 'ready' | 'maint', summary: string): Command {
  return changing({ word, summary, details: HOLDS, method: 'PATCH', document: () => ({ state: word }) })
}

function changing({ word, summary, details, method, last, options = {}, document }: Changing): Command {
  const name = `servers ${word}`
  return {
    name,
    positionals: ['[POOL]', 'SERVER', ...(last === undefined ? [] : [last])],
    summary,
    details: `POOL may be left out where there is only one.\n${details}\n${CONNECTION_DETAILS}`,
    options: { ...OPTIONS, ...options },
    async run(args, io) {
      const given = [...args.positionals]
      const value = last === undefined ? '' : (given.pop() ?? '')
      const server = given.pop()
      if (server === undefined) {
        io.err(`spillway ${name}: SERVER is missing; see: spillway help ${name}\n`)
        return EXIT.usage
      }
      const api = await connect(args, io, name)
      if (api === undefined) return EXIT.usage
      const pool = given[0] ?? (await onlyPool(api))
      if (typeof pool !== 'string') return complain(io, name, pool.wrong)
      const told = await api.change(method, `v1/pools/${segment(pool)}/servers/${segment(server)}`, document?.(args, value))
      if ('wrong' in told) return complain(io, name, told.wrong)
      tell(io, args.has('json') ? told.value.text : changeText(server, pool, told.value.document))
      return EXIT.ok
    },
  }
}

/** What is no number is refused by the gateway, which says what would be one. */
function weightOf(text: string): number | string {
  return /^\d+$/.test(text) ? Number(text) : text
}

function tell(io: Io, line: string): void {
  io.out(`${line}\n`)
}

async function poolNames(api: QueueApi): Promise<readonly string[] | { readonly wrong: string }> {
  const told = await api.get('v1/pools')
  if ('wrong' in told) return told
  return listOf(told.value.document, 'pools', (pool) => (isMapping(pool) ? textOf(pool['name']) : undefined))
}

async function onlyPool(api: QueueApi): Promise<string | { readonly wrong: string }> {
  const names = await poolNames(api)
  if ('wrong' in names) return names
  const [only] = names
  return only !== undefined && names.length === 1 ? only : { wrong: `say which pool: ${names.map(shown).join(', ')}` }
}

/** `10.0.0.7:3000 in pool api: weight 1 → 5`. */
function changeText(server: string, pool: string, document: unknown): string {
  const changes = listOf(document, 'changes', (change) => {
    if (!isMapping(change)) return undefined
    const { what, from, to } = change
    if (what === 'member') return to === true ? 'is in the pool now' : 'is not in the pool any more'
    return from === null || to === null ? undefined : `${plain(what)} ${plain(from)} → ${plain(to)}`
  })
  return `${shown(server)}, pool ${shown(pool)}: ${changes.length === 0 ? 'nothing has changed' : changes.join(', ')}`
}

function listText(pools: readonly unknown[]): string {
  const servers = pools.flatMap((pool) => {
    const name = isMapping(pool) ? (textOf(pool['name']) ?? '') : ''
    return listOf(pool, 'servers', (server) => factsOf(name, server))
  })
  if (servers.length === 0) return 'there are no servers\n'
  const tellLoad = servers.some(({ load }) => load !== '')
  const rows = servers.map((server) => [
    server.pool,
    server.name,
    server.state,
    server.weight,
    ...(tellLoad ? [server.load] : []),
    server.inFlight,
    server.source,
    server.because,
  ])
  return `${table([['POOL', 'SERVER', 'STATE', 'WEIGHT', ...(tellLoad ? ['LOAD'] : []), 'IN FLIGHT', 'BY', ''], ...rows]).join('\n')}\n`
}

function factsOf(pool: string, value: unknown): ServerFacts | undefined {
  if (!isMapping(value)) return undefined
  const [name, state] = [textOf(value['name']), textOf(value['state'])]
  if (name === undefined || state === undefined) return undefined
  const { weight: of, load, inFlight, slots, source, changed, because, since } = value
  const { configured, effective } = isMapping(of) ? of : {}
  return {
    pool: shown(pool),
    name: shown(name),
    state,
    weight: configured === effective ? String(configured) : `${String(effective)} of ${String(configured)}`,
    load: isMapping(load) ? String(load['reported']) : '',
    inFlight: `${String(inFlight)}/${String(slots)}`,
    source: `${textOf(source) ?? ''}${isMapping(changed) ? '*' : ''}`,
    because: `${textOf(because) ?? ''}${typeof since === 'string' ? `, since ${since.slice(0, 19)}Z` : ''}`,
  }
}

function plain(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
