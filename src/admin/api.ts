/**
 * The queue API on the admin address, below `/api`, for whoever passes its guard, with all rights. It is spoken on node:http directly: bodies
 * stream in both directions. What a page in a browser on this machine could send here by itself, for somebody else, is refused.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { answerCall, type Answered } from '../api/queues/queue-api.ts'
import type { ApiParts } from '../api/queues/parts.ts'
import { type ApiReply, type ApiRequest, json } from '../api/queues/request.ts'
import { ADMIN } from '../api/queues/rights.ts'
import { answerStore, type Maintain } from '../api/queues/store-routes.ts'
import { problemHeaders } from '../api/problem.ts'
import { ERRORS, failure, type Failure, problem } from '../core/errors.ts'
import type { Asker } from '../jobs/receivers.ts'
import type { BodySink, RequestBody } from '../net/call.ts'
import type { Millis } from '../lib/units.ts'
import { createGuard } from './guard.ts'
import type { ReloadOutcome } from './reloading.ts'
import { poolSegments } from './pool-paths.ts'
import { answerPools, type PoolActions } from './pools.ts'
import { answerRegistrar, looksLikeRegistrar, type Registrar, registrarOf } from './registrations.ts'
import { answerRoutes, type RouteModes } from './routes.ts'
import type { Upgrading } from './upgrading.ts'

const PREFIX = '/api/'
const RELOAD_PATH = '/api/reload'
const UPGRADE_PATH = '/api/upgrade'
const STORE = 'store'
const ROUTES = 'routes'

export interface AdminApi {
  /** False: it is none of its addresses. */
  handle(incoming: IncomingMessage, outgoing: ServerResponse): boolean
}

/** What is only for whoever runs the gateway. */
export interface AdminActions {
  readonly token: string | undefined
  reload(): Promise<ReloadOutcome>
  readonly upgrading: Upgrading
  /** undefined: the engine has no files. */
  readonly maintain?: Maintain | undefined
  readonly modes: RouteModes
  readonly pools: PoolActions
}

export function createAdminApi(parts: ApiParts, actions: AdminActions): AdminApi {
  const calls = new Calls(parts, actions)
  return {
    handle(incoming, outgoing) {
      if (!(incoming.url ?? '').startsWith(PREFIX)) return false
      calls.answer(incoming, outgoing).catch((error: unknown) => {
        const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
        parts.telemetry.event({ type: 'warning', message: `admin /api: ${message}` })
        outgoing.destroy()
      })
      return true
    },
  }
}

class Calls {
  readonly #parts: ApiParts
  readonly #actions: AdminActions
  readonly #guard: ReturnType<typeof createGuard>
  #underWay = 0

  constructor(parts: ApiParts, actions: AdminActions) {
    this.#parts = parts
    this.#actions = actions
    this.#guard = createGuard(actions.token)
  }

  async answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const registrar = registrarOf(incoming.headers.authorization, this.#parts.config.pools)
    const why = this.#refused(incoming, registrar)
    if (why !== undefined) return this.#refuse(outgoing, why)
    this.#underWay++
    try {
      await this.#carryOut(incoming, outgoing, registrar)
    } finally {
      this.#underWay--
    }
  }

  #refused(incoming: IncomingMessage, registrar: Registrar | undefined): Refused | undefined {
    const { headers, method = '' } = incoming
    const verdict = registrar === undefined ? this.#guard(headers.authorization, headers.host) : 'pass'
    if (registrar === undefined && this.#actions.token === undefined && looksLikeRegistrar(incoming)) {
      const failed = failure(
        'unauthorized',
        'The token is none of `registration.tokens`; operators need none here, so leave it out to change servers as one.',
      )
      return { failed, headers: ['WWW-Authenticate', 'Bearer realm="spillway registration"'] }
    }
    if (verdict === 'no-token') {
      const failed = failure('unauthorized', 'Send `Authorization: Bearer <admin.token>`.')
      return { failed, headers: ['WWW-Authenticate', 'Bearer realm="spillway admin"'] }
    }
    if (verdict === 'foreign-host') return { failed: failure('foreign_host', 'Ask for localhost or the address itself.'), headers: [] }
    if (method !== 'GET' && method !== 'HEAD' && isForeign(headers)) {
      return { failed: failure('foreign_page', 'The request comes from a page of another origin.'), headers: [] }
    }
    const { calls } = this.#parts.config.admin
    if (this.#underWay < calls) return undefined
    return { failed: failure('too_many_connections', `The admin address works on ${calls} calls already (admin.calls).`, 1), headers: [] }
  }

  async #carryOut(incoming: IncomingMessage, outgoing: ServerResponse, registrar: Registrar | undefined): Promise<void> {
    const [path = '', query = ''] = (incoming.url ?? '').split('?', 2)
    if (registrar === undefined && (path === RELOAD_PATH || path === UPGRADE_PATH)) return this.#change(outgoing, path)
    const asker: Asker = {
      get gone() {
        return outgoing.destroyed
      },
      onGone: (listener) => void outgoing.once('close', () => !outgoing.writableFinished && listener()),
    }
    const request: ApiRequest = {
      method: incoming.method ?? '',
      segments: path.slice(PREFIX.length).split('/'),
      query: new URLSearchParams(query),
      contentType: incoming.headers['content-type'],
      ifMatch: incoming.headers['if-match'],
      body: new IncomingBody(incoming, this.#parts.config.timeouts.bodyMs),
      caller: ADMIN,
      asker,
    }
    const answered =
      registrar === undefined
        ? await this.#answer(request)
        : await answerRegistrar(request, { api: this.#parts, actions: this.#actions.pools, registrar })
    if ('failed' in answered) this.#refuse(outgoing, answered)
    else await write(outgoing, answered)
  }

  #answer(request: ApiRequest): Promise<Answered> {
    const [first] = request.segments
    if (first === STORE) return answerStore(request, this.#parts, this.#actions.maintain)
    if (first === ROUTES) return answerRoutes(request, this.#parts, this.#actions.modes)
    if (poolSegments(request.segments) !== undefined) return answerPools(request, this.#parts, this.#actions.pools)
    return answerCall(request, this.#parts)
  }

  /** Of the gateway as a whole. */
  async #change(outgoing: ServerResponse, path: string): Promise<void> {
    if (outgoing.req.method !== 'POST') {
      return this.#refuse(outgoing, { failed: failure('method_not_allowed', 'Allowed here: POST.'), headers: ['Allow', 'POST'] })
    }
    await (path === RELOAD_PATH ? this.#reload(outgoing) : this.#upgrade(outgoing))
  }

  async #upgrade(outgoing: ServerResponse): Promise<void> {
    const outcome = await this.#actions.upgrading.request()
    if (outcome.kind === 'refused') return this.#refuse(outgoing, { failed: failure('upgrade_refused', outcome.reason), headers: [] })
    await write(outgoing, json(202, { pid: outcome.pid }))
  }

  async #reload(outgoing: ServerResponse): Promise<void> {
    const outcome = await this.#actions.reload()
    if (outcome.kind === 'refused') {
      const { problems } = outcome
      return this.#refuse(outgoing, { failed: failure('config_refused', problems.join('; ')), headers: [], more: { problems } })
    }
    const { readAt, needsRestart } = outcome
    await write(outgoing, json(200, { readAt: new Date(readAt).toISOString(), needsRestart }))
  }

  #refuse(outgoing: ServerResponse, { failed, headers: extra, more = {} }: Refused): void {
    const incoming = outgoing.req
    if (outgoing.destroyed) return
    // There may be more of the body that nobody wants.
    if (!incoming.complete) outgoing.once('finish', () => incoming.destroy())
    const body = Buffer.from(JSON.stringify(problem(failed, more)))
    const headers = [...problemHeaders(this.#parts.config.name, failed, extra), 'Content-Length', String(body.length)]
    outgoing.writeHead(ERRORS[failed.code].status, headers).end(incoming.method === 'HEAD' ? undefined : body)
  }
}

interface Refused {
  readonly failed: Failure
  readonly headers: readonly string[]
  /** For its document. */
  readonly more?: Readonly<Record<string, unknown>>
}

/** Browsers say from where a request comes, and a page cannot make them say otherwise. Who is no browser says nothing. */
function isForeign({ origin, host, 'sec-fetch-site': site }: IncomingMessage['headers']): boolean {
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return true
  return origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`
}

async function write(outgoing: ServerResponse, reply: ApiReply): Promise<void> {
  const { status, headers, body = '', free } = reply
  if (outgoing.destroyed) return free?.()
  if (typeof body === 'string') {
    const bytes = Buffer.from(body)
    if (free !== undefined) outgoing.once('close', free)
    const length = status === 204 ? [] : ['Content-Length', String(bytes.length)]
    outgoing.writeHead(status, [...headers, ...length]).end(outgoing.req.method === 'HEAD' ? undefined : bytes)
    return
  }
  outgoing.writeHead(status, [...headers])
  outgoing.flushHeaders()
  for await (const piece of body) {
    if (outgoing.destroyed || outgoing.write(piece)) continue
    await new Promise<void>((resolve) => {
      const done = (): void => {
        outgoing.off('drain', done)
        outgoing.off('close', done)
        resolve()
      }
      outgoing.on('drain', done)
      outgoing.on('close', done)
    })
  }
  outgoing.end()
}

/** What node:http reads, handed on as the gateway's own connections do. */
class IncomingBody implements RequestBody {
  readonly length: number | undefined
  readonly #incoming: IncomingMessage
  readonly #pauseMax: Millis
  #ended = false

  constructor(incoming: IncomingMessage, pauseMaxMs: Millis) {
    const { 'content-length': length, 'transfer-encoding': coding } = incoming.headers
    this.#incoming = incoming
    this.#pauseMax = pauseMaxMs
    this.length = coding === undefined ? Number(length ?? 0) : undefined
  }

  get complete(): boolean {
    return this.#incoming.complete
  }

  start(sink: BodySink): void {
    const incoming = this.#incoming
    const finish = (end: () => void): void => {
      if (this.#ended) return
      this.#ended = true
      incoming.socket.setTimeout(0)
      end()
    }
    incoming.on('data', (chunk: Buffer) => {
      if (!sink.data(chunk)) this.pause()
    })
    incoming.on('end', () => finish(() => sink.end([])))
    incoming.on('error', () => undefined)
    incoming.on('close', () => finish(() => sink.abort('gone')))
    incoming.socket.setTimeout(this.#pauseMax, () => {
      if (!this.#ended && !incoming.isPaused()) incoming.destroy()
    })
  }

  pause(): void {
    this.#incoming.pause()
  }

  resume(): void {
    this.#incoming.resume()
  }
}
