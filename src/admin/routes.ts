/** Routes as they are served now, and the switches of operators: `GET /api/routes`, `POST /api/routes/mode`. */
import type { ApiParts } from '../api/queues/parts.ts'
import type { Answered } from '../api/queues/queue-api.ts'
import { type ApiRequest, invalid, json, NOBODY, type Outcome, readDocument } from '../api/queues/request.ts'
import type { RouteConfig } from '../config/config.ts'
import { type Failure, failure, isFailure } from '../core/errors.ts'
import type { ModeSwitches } from '../gateway/mode-switches.ts'
import { type RouteModes as Modes, servesNow } from '../gateway/route-modes.ts'
import { isMapping } from '../lib/mapping.ts'
import type { Bytes } from '../lib/units.ts'

const DOCUMENT_BYTES_MAX: Bytes = 64 * 1024
const MODES = ['auto', 'queue', 'refuse'] as const
type Mode = (typeof MODES)[number]

export interface RouteModes {
  readonly switches: ModeSwitches
  readonly states: Modes
}

export async function answerRoutes(request: ApiRequest, parts: ApiParts, modes: RouteModes): Promise<Answered> {
  const address = request.segments.join('/')
  if (address !== 'routes' && address !== 'routes/mode') return refused(failure('not_found', 'There are routes and routes/mode.'))
  const allowed = address === 'routes' ? 'GET' : 'POST'
  const method = request.method === 'HEAD' ? 'GET' : request.method
  if (method !== allowed) return refused(failure('method_not_allowed', `Allowed here: ${allowed}.`), ['Allow', allowed])
  if (allowed === 'GET') return json(200, { routes: parts.config.routes.map((route) => routeView(route, modes)) })
  try {
    const outcome = await switchMode(request, parts, modes)
    return isFailure(outcome) ? refused(outcome) : outcome
  } catch {
    return refused(failure('store_unavailable', 'The store did not keep the switch; nothing is switched.', 1))
  }
}

function refused(failed: Failure, headers: readonly string[] = []): Answered {
  return { failed, headers }
}

async function switchMode(request: ApiRequest, parts: ApiParts, modes: RouteModes): Promise<Outcome> {
  const read = await readDocument(request, DOCUMENT_BYTES_MAX, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const asked = askedOf(read.value)
  if (asked === undefined) return invalid('Send { "route": "<its name>", "mode": "queue" }; the mode is auto, queue or refuse.')
  const route = parts.config.routes.find(({ name }) => name === asked.route)
  if (route === undefined) return failure('no_such_route', `No route is named ${asked.route}; GET /api/routes lists them.`)
  if (asked.mode === 'queue' && route.queue === undefined)
    return invalid(`The route ${route.name} has no queue: it is of mode ${route.mode}. It can be refused, or left alone.`)
  await modes.switches.set(route.name, asked.mode)
  return json(200, routeView(route, modes))
}

function askedOf(document: unknown): { readonly route: string; readonly mode: Mode } | undefined {
  if (!isMapping(document) || Object.keys(document).length !== 2) return undefined
  const { route, mode } = document
  return typeof route === 'string' && MODES.includes(mode as Mode) ? { route, mode: mode as Mode } : undefined
}

function routeView(route: RouteConfig, { switches, states }: RouteModes): Record<string, unknown> {
  const { mode, trigger, since, reason } = servesNow(route, switches, states)
  return {
    route: route.name,
    mode: route.mode,
    ...(route.queue !== undefined && { queue: route.queue }),
    serves: mode,
    switch: switches.of(route.name)?.mode ?? 'auto',
    trigger,
    ...(since !== undefined && { since: new Date(since).toISOString(), reason }),
  }
}
