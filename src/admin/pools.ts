/**
 * Pools and their servers over the admin address: what each is doing and why, and changes by an operator, which hold over restarts. Below
 * `/api/v1/pools`, and the same below `/api/pools`. Every change may be sent twice; each answer says what has changed.
 */
import type { ApiParts } from '../api/queues/parts.ts'
import type { Answered } from '../api/queues/queue-api.ts'
import { type ApiReply, type ApiRequest, invalid, json, NOBODY, type Outcome, readDocument } from '../api/queues/request.ts'
import { readServerUrl } from '../config/fields.ts'
import { type Failure, failure, isFailure } from '../core/errors.ts'
import { tagsOf } from '../core/headers/conditional.ts'
import { altered, type AskedOfServer, isWeight, placed, type ServerChange, takenOut, WEIGHT_MAX } from '../core/members/changes.ts'
import { isMapping } from '../lib/mapping.ts'
import type { Bytes } from '../lib/units.ts'
import type { Pool } from '../pools/pool.ts'
import type { Pools } from '../pools/pools.ts'
import type { Server } from '../pools/server.ts'
import { type ServerChanges, TOO_MANY } from '../pools/server-changes.ts'
import { decodedSegments, poolSegments } from './pool-paths.ts'
import { type Around, poolSummary, poolView, serverTag, serverView } from './pool-view.ts'

const DOCUMENT_BYTES_MAX: Bytes = 64 * 1024
const DUTIES = ['ready', 'drain', 'maint'] as const

export interface PoolActions {
  readonly pools: Pools
  readonly changes: ServerChanges
}

export async function answerPools(request: ApiRequest, parts: ApiParts, actions: PoolActions): Promise<Answered> {
  const names = decodedSegments(poolSegments(request.segments) ?? [])
  if (names === undefined) return refused(invalid('The path has an escape that is none.'))
  const [name, kind, server] = names
  const method = request.method === 'HEAD' ? 'GET' : request.method
  const allowed = methodsOf(names.length, kind)
  if (allowed === undefined)
    return refused(failure('not_found', 'There are pools, pools/<pool>, pools/<pool>/servers/<host:port> and pools/<pool>/changes.'))
  if (!allowed.includes(method))
    return refused(failure('method_not_allowed', `Allowed here: ${allowed.join(', ')}.`), ['Allow', allowed.join(', ')])
  if (name === undefined) return json(200, { pools: [...actions.pools.running.values()].map(poolSummary) })
  const pool = actions.pools.running.get(name)
  if (pool === undefined) return refused(noSuchPool(name, actions.pools))
  const operator = new Operator(pool, parts, actions)
  try {
    const outcome = await operator.answer(request, { method, kind, server })
    return isFailure(outcome) ? refused(outcome) : outcome
  } catch {
    return refused(failure('store_unavailable', 'The store did not keep the change; nothing has changed.', 1))
  }
}

function methodsOf(length: number, kind: string | undefined): readonly string[] | undefined {
  if (length <= 1) return ['GET']
  if (kind === 'changes' && length === 2) return ['DELETE']
  if (kind !== 'servers' || length > 3) return undefined
  return length === 2 ? ['GET'] : ['GET', 'PUT', 'PATCH', 'DELETE']
}

interface Target {
  readonly method: string
  readonly kind: string | undefined
  readonly server: string | undefined
}

type Decide = (change: ServerChange | undefined) => ServerChange | undefined

class Operator {
  readonly #pool: Pool
  readonly #parts: ApiParts
  readonly #actions: PoolActions

  constructor(pool: Pool, parts: ApiParts, actions: PoolActions) {
    this.#pool = pool
    this.#parts = parts
    this.#actions = actions
  }

  async answer(request: ApiRequest, { method, kind, server }: Target): Promise<Outcome> {
    if (kind === 'changes') return this.#forgetAll()
    const view = { ...poolView(this.#around), ...this.#names() }
    if (server === undefined) return json(200, kind === 'servers' ? { servers: view['servers'] } : view)
    const read = readServerUrl(`http://${server}`)
    if ('wrong' in read) return invalid(`A server is named by its host and port, such as 10.0.0.1:3000, not ${JSON.stringify(server)}.`)
    const { name } = read.value
    if (method === 'GET') return this.#isKnown(name) ? this.#reply(200, name, []) : this.#noSuchServer(name)
    return method === 'DELETE' ? this.#takeOut(request, name) : this.#set(request, { method, name })
  }

  get #changes(): ReadonlyMap<string, ServerChange> {
    return this.#actions.changes.of(this.#pool.name)
  }

  get #around(): Around {
    const { pools } = this.#actions
    return { pool: this.#pool, changes: this.#changes, clock: this.#parts.clock, registered: pools.registrations.of(this.#pool.name) }
  }

  async #set(request: ApiRequest, { method, name }: { readonly method: string; readonly name: string }): Promise<Outcome> {
    const read = await readDocument(request, DOCUMENT_BYTES_MAX, this.#parts)
    if (read === undefined) return NOBODY
    if (isFailure(read)) return read
    const asked = askedOf(read.value)
    if (isFailure(asked)) return asked
    const isNew = !this.#isKnown(name)
    if (isNew && method === 'PATCH') return this.#noSuchServer(name)
    const { clock } = this.#parts
    return this.#change(request, name, (change) => {
      const known = { change, inFile: this.#isDeclaredOtherwise(name), now: clock.now() }
      return method === 'PUT' ? placed(asked, known) : altered(asked, known)
    })
  }

  async #takeOut(request: ApiRequest, name: string): Promise<Outcome> {
    const isTakenOut = this.#changes.get(name)?.removed === true
    if (!isTakenOut && !this.#isKnown(name)) return this.#noSuchServer(name)
    const { clock } = this.#parts
    return this.#change(request, name, (change) => takenOut({ change, inFile: this.#isDeclaredOtherwise(name), now: clock.now() }))
  }

  async #change(request: ApiRequest, name: string, decide: Decide): Promise<Outcome> {
    const before = this.#settings(name)
    const wanted = request.ifMatch
    const decideIf = (change: ServerChange | undefined): { readonly change: ServerChange | undefined } | { readonly refused: Failure } =>
      wanted === undefined || this.#matches(name, wanted)
        ? { change: decide(change) }
        : { refused: failure('precondition_failed', `${name} is not as If-Match says; GET it again.`) }
    const { pools, changes } = this.#actions
    const outcome = await changes.change<Failure>(this.#pool.name, name, decideIf, () => pools.refresh(this.#pool.name))
    if (outcome === TOO_MANY)
      return failure(
        'too_many_server_changes',
        'So many servers are changed already (limits.serverChanges); DELETE pools/<pool>/changes puts some back.',
      )
    if (outcome !== undefined) return outcome
    const after = this.#settings(name)
    return this.#reply(before.member === false && after.member === true ? 201 : 200, name, differences(before, after))
  }

  async #forgetAll(): Promise<Outcome> {
    const { pools, changes } = this.#actions
    const { name } = this.#pool
    const forgotten = await changes.forget(
      name,
      () => true,
      () => pools.refresh(name),
    )
    return json(200, { changed: forgotten, pool: poolView(this.#around) })
  }

  /** Members with that name, or that are its addresses. */
  #members(name: string): readonly Server[] {
    const { servers } = this.#pool
    const own = servers.filter((server) => server.name === name)
    return own.length > 0
      ? own
      : servers.filter(({ config }) => config.hostName !== undefined && `${config.hostName}:${config.port}` === name)
  }

  #names(): Readonly<Record<string, unknown>> {
    const names = this.#actions.pools.namesOf(this.#pool.config)
    if (names.length === 0) return {}
    return {
      names: names.map(([name, { addresses, at, error }]) => ({
        name,
        addresses: addresses.map(({ address }) => address),
        ...(at !== undefined && { lookedUpAt: new Date(at).toISOString() }),
        ...(error !== undefined && { error }),
      })),
    }
  }

  #isKnown(name: string): boolean {
    if (this.#changes.get(name)?.removed === true) return false
    return this.#members(name).length > 0 || this.#actions.pools.declared(this.#pool.config).some((server) => server.name === name)
  }

  /** It would be there without a change. */
  #isDeclaredOtherwise(name: string): boolean {
    const declared = this.#actions.pools.declared(this.#pool.config).find((server) => server.name === name)
    if (declared !== undefined) return declared.source !== 'api'
    return (
      this.#members(name).some(({ source }) => source === 'dns') || (this.#changes.get(name)?.added !== true && this.#changes.has(name))
    )
  }

  #settings(name: string): Settings {
    const [server] = this.#members(name)
    if (server === undefined) return { member: false }
    return { member: true, weight: server.configuredWeight, state: server.duty }
  }

  #matches(name: string, ifMatch: string): boolean {
    const tags = this.#members(name).map(serverTag)
    return ifMatch.trim() === '*' ? tags.length > 0 : tagsOf(ifMatch).some((tag) => tags.includes(tag))
  }

  #reply(status: number, name: string, changed: readonly unknown[]): ApiReply {
    const around = this.#around
    const members = this.#members(name)
    const [only] = members
    if (members.length === 1 && only !== undefined) {
      const reply = json(status, { ...serverView(only, around), changes: changed })
      return { ...reply, headers: [...reply.headers, 'ETag', serverTag(only)] }
    }
    return json(status, { name, changes: changed, servers: members.map((server) => serverView(server, around)) })
  }

  #noSuchServer(name: string): Failure {
    const there = this.#pool.servers.map((server) => server.name).slice(0, 20)
    return failure(
      'no_such_server',
      `Pool ${this.#pool.name} has no server ${name}; there ${there.length === 1 ? 'is' : 'are'}: ${there.join(', ') || 'none'}.`,
    )
  }
}

interface Settings {
  readonly member: boolean
  readonly weight?: number
  readonly state?: string
}

function differences(before: Settings, after: Settings): readonly unknown[] {
  return (['member', 'weight', 'state'] as const).flatMap((what) =>
    before[what] === after[what] ? [] : [{ what, from: before[what] ?? null, to: after[what] ?? null }],
  )
}

function askedOf(document: unknown): AskedOfServer | Failure {
  const wrong = invalid(
    `Send {"weight": 1 to ${WEIGHT_MAX}, or null for that of the file, "state": "ready", "drain" or "maint"}, or a part of it; a server that is to get nothing is drained.`,
  )
  if (!isMapping(document)) return wrong
  const { weight, state, ...others } = document
  if (Object.keys(others).length > 0) return wrong
  if (weight !== undefined && weight !== null && !isWeight(weight)) return wrong
  const duty = DUTIES.find((each) => each === state)
  if (state !== undefined && duty === undefined) return wrong
  return { ...(weight !== undefined && { weight: weight ?? 'file' }), ...(duty !== undefined && { duty }) }
}

function noSuchPool(name: string, { running }: Pools): Failure {
  return failure('no_such_pool', `No pool is named ${name}; there are: ${[...running.keys()].join(', ')}.`)
}

function refused(failed: Failure, headers: readonly string[] = []): Answered {
  return { failed, headers }
}
