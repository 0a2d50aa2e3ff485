/**
 * The admin address: health, readiness, metrics and status, small and read-only, and the queue API (`api.ts`). It runs on node:http, apart
 * from the gateway's own HTTP path, so that it can still answer when that one is in trouble.
 *
 * `/healthz` and `/readyz` ask for no token: who restarts or feeds this process must be able to ask, and they tell nothing else.
 */
import { createServer, type Server } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { type Context, Hono, type Next } from 'hono'
import type { HostPort } from '../config/config.ts'
import type { Millis } from '../lib/units.ts'
import { listenWith } from '../ports/system.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { AdminApi } from './api.ts'
import { createGuard } from './guard.ts'
import type { AdminSources } from './status.ts'

export interface AdminOptions {
  readonly address: HostPort
  readonly token?: string | undefined
  readonly telemetry: Telemetry
  readonly sources: AdminSources
  /** The queue API, below `/api`. */
  readonly api?: AdminApi
  /** How long an answer may wait for the store. Default 1 s. */
  readonly patienceMs?: Millis
  /** Connections at once; more are closed. Default 64. */
  readonly connectionsMax?: number
  /** How long a connection may take for the head of a request. Default 5 s. */
  readonly headMs?: Millis
  /** Instead of listening on the address: on a socket that somebody else has bound. */
  readonly listen?: (server: Server, address: HostPort) => Promise<HostPort>
}

export interface Admin {
  /** What it really listens on. */
  readonly address: HostPort
  close(): Promise<void>
}

const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
const PATIENCE_MS = 1000
const CONNECTIONS_MAX = 64
const HEAD_MS = 5000
/** Connections that wait to be accepted: what Node asks for by itself, and enough for an address that few use. */
export const ADMIN_BACKLOG = 511
const LIMITS = {
  maxHeaderSize: 8 * 1024,
  /** Head and body: the head has a time of its own, and so has each pause in a body of the API, which may stream for hours. */
  requestTimeout: 0,
  keepAliveTimeout: 30_000,
  /** How often the two timeouts are looked after: with the default, 30 s, silent connections would hold all places for as long. */
  connectionsCheckingInterval: 1000,
}

async function within<T>(work: Promise<T>, patienceMs: Millis): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${patienceMs} ms`)), patienceMs)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

function problem(c: Context, status: 401 | 404 | 405 | 421 | 500 | 503, title: string): Response {
  return c.body(JSON.stringify({ title, status }), status, { 'content-type': 'application/problem+json', 'cache-control': 'no-store' })
}

/** The routes alone, without a socket. */
function adminApp({ token, telemetry, sources, patienceMs = PATIENCE_MS }: Omit<AdminOptions, 'address'>): Hono {
  const app = new Hono()
  const guard = createGuard(token)
  const guarded = async (c: Context, next: Next): Promise<Response | undefined> => {
    const verdict = guard(c.req.header('authorization'), c.req.header('host'))
    if (verdict === 'no-token') {
      c.header('www-authenticate', 'Bearer realm="spillway admin"')
      return problem(c, 401, 'A bearer token is required')
    }
    if (verdict === 'foreign-host') return problem(c, 421, 'Ask for localhost or the address itself')
    await next()
    return undefined
  }

  app.use(async (c, next) => {
    if (c.req.method !== 'GET' && c.req.method !== 'HEAD') {
      c.header('allow', 'GET, HEAD')
      return problem(c, 405, 'Only GET and HEAD are understood here')
    }
    c.header('cache-control', 'no-store')
    c.header('x-content-type-options', 'nosniff')
    await next()
    return undefined
  })
  app.get('/healthz', (c) => c.text('ok\n'))
  app.get('/readyz', (c) => {
    const { ok, reason } = sources.ready()
    return c.text(`${reason}\n`, ok ? 200 : 503)
  })
  app.get('/metrics', guarded, async (c) => {
    // With a store that hangs or failed, the other figures are what is needed most.
    await within(sources.refresh(), patienceMs).catch(() => undefined)
    const counted = await within(sources.countedElsewhere(), patienceMs).catch(() => [])
    return c.body(telemetry.metrics.renderWith(counted), 200, { 'content-type': METRICS_TYPE })
  })
  app.get('/status', guarded, async (c) => c.json(await within(sources.status(), patienceMs)))
  app.notFound((c) => problem(c, 404, 'There are /healthz, /readyz, /metrics, /status and /api'))
  app.onError((error, c) => {
    telemetry.event({ type: 'warning', message: `admin ${c.req.path}: ${error.message}` })
    return problem(c, 503, error.message)
  })
  return app
}

async function listen(server: Server, { host, port }: HostPort): Promise<HostPort> {
  try {
    return (await listenWith(server, { host, port, backlog: ADMIN_BACKLOG })).address
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why = code === 'EADDRINUSE' ? 'the port is in use' : message
    throw new Error(`admin cannot listen on ${host}:${port}: ${why}`, { cause: error })
  }
}

export async function startAdmin(options: AdminOptions): Promise<Admin> {
  const app = adminApp(options)
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false })
  const server = createServer({ ...LIMITS, headersTimeout: options.headMs ?? HEAD_MS }, (incoming, outgoing) => {
    if (options.api?.handle(incoming, outgoing) === true) return
    // Bodies are for the API alone: elsewhere nobody reads what comes after the answer.
    outgoing.once('finish', () => incoming.complete || incoming.destroy())
    void listener(incoming, outgoing)
  })
  server.maxConnections = options.connectionsMax ?? CONNECTIONS_MAX
  const address = await (options.listen ?? listen)(server, options.address)
  server.on('error', (error) => options.telemetry.event({ type: 'warning', message: `admin: ${error.message}` }))
  return {
    address,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        // Answers here take milliseconds; nobody's keep-alive connection may hold up the end of the process.
        server.closeIdleConnections()
        setTimeout(() => server.closeAllConnections(), 200).unref()
      }),
  }
}
