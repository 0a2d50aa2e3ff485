/**
 * Sends one webhook over node:http or node:https and reads the beginning of the answer. Follows no redirect and no proxy of the environment. Whether
 * an address may be reached is asked in the connector: of the addresses that a name has now, only those that may are handed to the socket, so
 * what was checked is what is connected to, and a name that changes its mind gains nothing.
 */
import { Agent as HttpAgent, type AgentOptions, type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import type { WebhooksConfig } from '../config/config.ts'
import type { ErrorCode } from '../core/errors.ts'
import { type AllowList, isLoopbackAddress, readAllowList, refusedAddress } from '../core/webhooks/addresses.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { JobAnswer } from '../ports/job-store.ts'
import type { Resolver } from '../ports/network.ts'

/** A connection that nobody has used for so long is closed. */
const IDLE_MS: Millis = 10_000
const IDLE_CONNECTIONS_MAX = 32
const ANSWER_HEADERS: ReadonlySet<string> = new Set(['content-type', 'retry-after', 'location', 'server', 'date'])

export type SenderRules = Pick<WebhooksConfig, 'allow' | 'https' | 'connectTimeoutMs' | 'answer'>

export interface OutgoingWebhook {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  readonly timeoutMs: Millis
}

export type SendEnd =
  /** The beginning of its body, and a few of its headers. */
  | { readonly kind: 'answer'; readonly answer: JobAnswer; readonly retryAfter?: string }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly detail: string }

export interface Sending {
  readonly end: Promise<SendEnd>
  abort(code: ErrorCode, detail: string): void
}

/** What connects to receivers: sockets of the system, unless somebody has a network of his own. */
export interface WebhookAgents {
  readonly 'http:': HttpAgent
  readonly 'https:': HttpsAgent
}

export interface SenderParts {
  readonly clock: Clock
  readonly resolver: Resolver
  readonly agents?: ((options: AgentOptions) => WebhookAgents) | undefined
}

export class Sender {
  readonly #clock: Clock
  readonly #resolver: Resolver
  readonly #rules: SenderRules
  readonly #allow: AllowList
  readonly #agents: WebhookAgents

  constructor(parts: SenderParts, rules: SenderRules) {
    this.#clock = parts.clock
    this.#resolver = parts.resolver
    this.#rules = rules
    this.#allow = readAllowList(rules.allow)
    const options = { keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS_MAX, timeout: IDLE_MS }
    this.#agents = (parts.agents ?? systemAgents)(options)
  }

  /** Ends connections that are idle, and those in use with what uses them. */
  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy()
  }

  send(webhook: OutgoingWebhook): Sending {
    const attempt = new SendAttempt(this.#clock, webhook, this.#rules)
    const host = webhook.url.hostname.replace(/^\[|\]$/g, '')
    const refused = isIP(host) === 0 ? undefined : this.#refused(host, webhook.url, host)
    if (refused === undefined) this.#begin(attempt, webhook, false)
    else attempt.finish({ kind: 'failed', code: 'webhook_refused_address', detail: refused })
    return { end: attempt.end, abort: (code, detail) => attempt.finish({ kind: 'failed', code, detail }) }
  }

  #begin(attempt: SendAttempt, webhook: OutgoingWebhook, again: boolean): void {
    const { url, headers, body } = webhook
    const secure = url.protocol === 'https:'
    const options = { method: 'POST', headers: { ...headers, 'Content-Length': body.length }, lookup: this.#lookup(url) }
    const request = secure
      ? httpsRequest(url, { ...options, agent: this.#agents['https:'] })
      : httpRequest(url, { ...options, agent: this.#agents['http:'] })
    attempt.watch(request, secure, (error) => {
      // A connection that was kept may have been closed by the other side while this was on its way; it is told of it once.
      if (again || !request.reusedSocket || codeOf(error) !== 'ECONNRESET') return false
      this.#begin(attempt, webhook, true)
      return true
    })
    request.end(body)
  }

  /** Why the address must not be connected to. */
  #refused(address: string, url: URL, host: string): string | undefined {
    const why = refusedAddress(address, host, this.#allow)
    if (why !== undefined) return `${host === address ? address : `${host} (${address})`} is ${why}, and webhooks.allow does not name it.`
    if (url.protocol === 'https:' || this.#rules.https === 'optional' || isLoopbackAddress(address)) return undefined
    return `${host} would be sent to without TLS (webhooks.https: required).`
  }

  #lookup(url: URL): LookupFunction {
    return (host, options, done) => {
      this.#resolver.resolve(host).then(
        (found) => {
          const judged = found.map((each) => ({ ...each, refused: this.#refused(each.address, url, host) }))
          const good = judged.filter(({ refused }) => refused === undefined).map(({ address, family }) => ({ address, family }))
          const [first] = good
          if (first === undefined) done(new RefusedAddress(judged[0]?.refused ?? `${host} has no address.`), '', 0)
          else if (options.all === true) done(null, good)
          else done(null, first.address, first.family)
        },
        (error: unknown) => done(error instanceof Error ? error : new Error(String(error)), '', 0),
      )
    }
  }
}

function systemAgents(options: AgentOptions): WebhookAgents {
  return { 'http:': new HttpAgent(options), 'https:': new HttpsAgent(options) }
}

class RefusedAddress extends Error {}

/** One webhook on its way: it ends once, by whatever comes first. */
class SendAttempt {
  readonly end: Promise<SendEnd>
  readonly #clock: Clock
  readonly #rules: SenderRules
  readonly #deadline: Timer
  #resolve: (end: SendEnd) => void = () => undefined
  #connecting: Timer | undefined
  #request: ClientRequest | undefined
  #over = false

  constructor(clock: Clock, { timeoutMs }: OutgoingWebhook, rules: SenderRules) {
    this.#clock = clock
    this.#rules = rules
    this.end = new Promise((resolve) => {
      this.#resolve = resolve
    })
    this.#deadline = clock.after(timeoutMs, () => {
      this.finish({ kind: 'failed', code: 'attempt_timeout', detail: `The receiver had not answered after ${timeoutMs} ms.` })
    })
  }

  finish(end: SendEnd): void {
    if (this.#over) return
    this.#over = true
    this.#deadline.cancel()
    this.#connecting?.cancel()
    // What answered in full leaves its connection to the next; the rest is broken off.
    this.#request?.destroy()
    this.#resolve(end)
  }

  /** `again`: has it been begun anew? */
  watch(request: ClientRequest, secure: boolean, again: (error: Error) => boolean): void {
    this.#request = request
    const { connectTimeoutMs } = this.#rules
    request.on('socket', (socket) => {
      if (this.#over || !socket.connecting) return
      this.#connecting = this.#clock.after(connectTimeoutMs, () => {
        this.finish({ kind: 'failed', code: 'connect_timeout', detail: `There was no connection after ${connectTimeoutMs} ms.` })
      })
      socket.once(secure ? 'secureConnect' : 'connect', () => this.#connecting?.cancel())
    })
    request.on('response', (response) => this.#read(response))
    request.on('error', (error) => {
      if (!this.#over && !again(error)) this.finish(failureOf(error))
    })
    // Another protocol was not asked for.
    request.on('upgrade', (_, socket) => {
      socket.destroy()
      this.finish({ kind: 'failed', code: 'bad_response', detail: 'The receiver changed the protocol.' })
    })
  }

  #read(response: IncomingMessage): void {
    const chunks: Buffer[] = []
    let bytes: Bytes = 0
    const { answer: max } = this.#rules
    response.on('data', (chunk: Buffer) => {
      const kept = chunk.subarray(0, max - bytes)
      chunks.push(kept)
      bytes += kept.length
      // More of it is nobody's business: the connection goes with it.
      if (kept.length < chunk.length) this.finish(answered(response, chunks))
    })
    response.on('end', () => {
      this.#request = undefined
      this.finish(answered(response, chunks))
    })
    const broken: SendEnd = { kind: 'failed', code: 'connection_reset', detail: 'The receiver broke off its answer.' }
    response.on('error', () => this.finish(broken))
    response.on('close', () => this.finish(broken))
  }
}

function answered(response: IncomingMessage, chunks: readonly Buffer[]): SendEnd {
  const { statusCode: status = 0, statusMessage: reason = '', rawHeaders, headers } = response
  const kept: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    if (ANSWER_HEADERS.has(name.toLowerCase())) kept.push(name, rawHeaders[i + 1] as string)
  }
  const retryAfter = headers['retry-after']
  const answer = { status, reason, headers: kept, body: Buffer.concat(chunks) }
  return { kind: 'answer', answer, ...(retryAfter !== undefined && { retryAfter }) }
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : ''
}

function failureOf(error: Error): SendEnd {
  if (error instanceof RefusedAddress) return { kind: 'failed', code: 'webhook_refused_address', detail: error.message }
  const code = codeOf(error)
  if (code.startsWith('HPE_')) return { kind: 'failed', code: 'bad_response', detail: 'The receiver answered something that is not HTTP.' }
  const reset = code === 'ECONNRESET' || code === 'EPIPE'
  return {
    kind: 'failed',
    code: reset ? 'connection_reset' : 'connect_failed',
    detail: `The receiver was not reached: ${code || error.message}.`,
  }
}
