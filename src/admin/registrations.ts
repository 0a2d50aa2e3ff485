/**
 * Servers register themselves: `PUT /api/v1/pools/<pool>/servers/<host:port>` again and again, and `DELETE` at the end. They show a token of the pool,
 * which opens nothing else here, on no other pool, and never what an operator has said.
 */
import type { IncomingMessage } from 'node:http'
import type { ApiParts } from '../api/queues/parts.ts'
import type { Answered } from '../api/queues/queue-api.ts'
import { type ApiReply, type ApiRequest, invalid, json, NOBODY, type Outcome, readDocument } from '../api/queues/request.ts'
import type { PoolConfig } from '../config/config.ts'
import type { RegistrationConfig } from '../config/config-registration.ts'
import { readServerUrl } from '../config/fields.ts'
import { type Failure, failure, isFailure } from '../core/errors.ts'
import { isWeight, WEIGHT_MAX } from '../core/members/changes.ts'
import { type AskedRegistration, isTtlAllowed } from '../core/members/registrations.ts'
import { parseDuration } from '../lib/duration.ts'
import { isMapping } from '../lib/mapping.ts'
import type { Bytes } from '../lib/units.ts'
import { isLookedUp } from '../pools/names.ts'
import type { Pool } from '../pools/pool.ts'
import { bearerOf, isToken } from './guard.ts'
import { decodedSegments, poolSegments } from './pool-paths.ts'
import { serverView } from './pool-view.ts'
import type { PoolActions } from './pools.ts'

const DOCUMENT_BYTES_MAX: Bytes = 4 * 1024

/** Names of pools. */
export type Registrar = ReadonlySet<string>

/** The pools whose servers may register with the token that is shown; undefined: it is no such token, or none. */
export function registrarOf(authorization: string | undefined, pools: readonly PoolConfig[]): Registrar | undefined {
  const sent = bearerOf(authorization)
  if (sent === undefined) return undefined
  const opens = pools.filter(({ registration }) => (registration?.tokens ?? []).some((token) => isToken(sent, token)))
  return opens.length === 0 ? undefined : new Set(opens.map(({ name }) => name))
}

/** Where operators need no token, a server that shows a wrong or an old one must not be taken for an operator: its DELETE would hold for ever. */
export function looksLikeRegistrar({ method, url = '', headers }: IncomingMessage): boolean {
  if ((method !== 'PUT' && method !== 'DELETE') || bearerOf(headers.authorization) === undefined) return false
  const path = (url.split('?', 1)[0] as string).replace(/^\/api\//, '')
  const [, kind] = poolSegments(path.split('/')) ?? []
  return kind !== undefined && decodedSegments([kind])?.[0] === 'servers'
}

interface Parts {
  readonly api: ApiParts
  readonly actions: PoolActions
  readonly registrar: Registrar
}

export async function answerRegistrar(request: ApiRequest, parts: Parts): Promise<Answered> {
  const outcome = await answer(request, parts)
  return isFailure(outcome) ? { failed: outcome, headers: [] } : outcome
}

async function answer(request: ApiRequest, { api, actions, registrar }: Parts): Promise<Outcome> {
  const asked = decodedSegments(poolSegments(request.segments) ?? []) ?? []
  const [name = '', kind, server] = asked
  const { method } = request
  const isItsOwn = asked.length === 3 && kind === 'servers' && (method === 'PUT' || method === 'DELETE') && registrar.has(name)
  const pool = actions.pools.running.get(name)
  const registration = pool?.config.registration
  if (!isItsOwn || pool === undefined || registration === undefined)
    return failure('forbidden', `This token is for PUT and DELETE of servers of ${[...registrar].join(', ')}, and for nothing else.`)
  const read = readServerUrl(`http://${server}`)
  if ('wrong' in read || isLookedUp(read.value.host))
    return invalid(`A server registers with its address and port, such as 10.0.0.1:3000, not ${JSON.stringify(server)}.`)
  const target = { pool, registration, name: read.value.name, actions, api }
  return method === 'DELETE' ? deregister(target) : register(request, target)
}

interface Target {
  readonly pool: Pool
  readonly registration: RegistrationConfig
  readonly name: string
  readonly actions: PoolActions
  readonly api: ApiParts
}

async function register(request: ApiRequest, target: Target): Promise<Outcome> {
  const { pool, name, actions, registration } = target
  const read = await readDocument(request, DOCUMENT_BYTES_MAX, target.api)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const asked = askedOf(read.value, registration)
  if (isFailure(asked)) return asked
  const taken = declaredOtherwise(target)
  if (taken !== undefined) return taken
  const { max } = registration
  const outcome = actions.pools.registrations.register(pool.name, name, { asked, max })
  if (outcome !== 'too-many') return shown(outcome === 'new' ? 201 : 200, target)
  target.api.telemetry.event({ type: 'limit-reached', limit: 'registration.max', where: pool.name, value: max })
  return failure('too_many_registered', `So many servers of pool ${pool.name} are registered already (registration.max): ${max}.`)
}

function deregister(target: Target): Outcome {
  const { pool, name, actions } = target
  const taken = declaredOtherwise(target)
  if (taken !== undefined) return taken
  if (!actions.pools.registrations.deregister(pool.name, name))
    return failure('no_such_server', `${name} is not registered in pool ${pool.name}.`)
  return json(200, { name, pool: pool.name, registered: false })
}

/** By the file, an operator, or as an address of a name. */
function declaredOtherwise({ pool, name, actions }: Target): Failure | undefined {
  const others = [...actions.pools.declared(pool.config), ...pool.servers]
  const other = others.find((server) => server.name === name && server.source !== 'registered')
  if (other === undefined) return undefined
  const by = { file: 'stands in the file', api: 'was added by an operator', dns: 'is an address of a name in the file' }
  const why = by[other.source as keyof typeof by]
  return failure('not_by_registration', `${name} ${why}, so pool ${pool.name} has it without registration.`)
}

function shown(status: number, { pool, name, actions, api }: Target): ApiReply {
  const changes = actions.changes.of(pool.name)
  const around = { pool, changes, clock: api.clock, registered: actions.pools.registrations.of(pool.name) }
  const member = pool.servers.find((server) => server.name === name)
  if (member !== undefined) return json(status, { pool: pool.name, ...serverView(member, around) })
  return json(status, { pool: pool.name, name, source: 'registered', takenOut: true, because: 'an operator took it out' })
}

function askedOf(document: unknown, rules: RegistrationConfig): AskedRegistration | Failure {
  const wrong = invalid(`Send {"ttl": "15s"}, and "weight" from 1 to ${WEIGHT_MAX} where it is not 1.`)
  if (!isMapping(document)) return wrong
  const { ttl, weight = 1, ...others } = document
  if (Object.keys(others).length > 0 || !isWeight(weight) || typeof ttl !== 'string') return wrong
  const ttlMs = parseDuration(ttl)
  if (ttlMs === undefined) return wrong
  if (isTtlAllowed(ttlMs, rules)) return { weight, ttlMs }
  const { ttlMinMs, ttlMaxMs } = rules
  return invalid(`ttl is from ${ttlMinMs} ms (registration.ttlMin) to ${ttlMaxMs} ms (registration.ttlMax), not ${ttl}.`)
}
