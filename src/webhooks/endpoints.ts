/**
 * Endpoints: those of the configuration, and those that the API made, which are kept as notes in the store, with their secrets. Of each it is
 * known since when it has only failed, and whether it is disabled: that is a note, too, because a restart forgives nothing.
 */
import type { EndpointConfig, WebhooksConfig } from '../config/config.ts'
import { readEndpointDocument } from '../config/documents.ts'
import type { Origin } from '../jobs/definitions.ts'
import { storedDefinition, storedText } from '../jobs/definitions.ts'
import { isMapping } from '../lib/mapping.ts'
import type { EpochMillis, Millis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { JobStore } from '../ports/job-store.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { type KeptSecret, validSecrets } from './signature.ts'

const NOTE = 'webhook/'
const STATE_NOTE = 'webhook-state/'
/** A first failure is forgotten where so many times the limit has passed without the endpoint being disabled: there was hardly anything to send. */
const FORGIVEN_AFTER = 2

export interface Endpoint {
  readonly name: string
  readonly origin: Origin
  readonly config: EndpointConfig
  readonly secrets: readonly KeptSecret[]
  /** As it was given to the API, without secrets. */
  readonly document?: unknown
}

export interface EndpointState {
  /** Nothing has been delivered since. */
  readonly failingSince?: EpochMillis
  readonly disabled?: { readonly at: EpochMillis; readonly reason: string }
}

/** Of the API, as it is kept. */
interface StoredEndpoint {
  readonly document: unknown
  readonly secrets: readonly KeptSecret[]
}

export interface EndpointsParts {
  readonly store: Pick<JobStore, 'notes' | 'command'>
  readonly clock: Clock
  readonly telemetry: Telemetry
}

export class Endpoints {
  readonly #parts: EndpointsParts
  #config: WebhooksConfig | undefined
  /** Those of the configuration hide those of the same name. */
  #inFile: ReadonlyMap<string, Endpoint> = new Map()
  readonly #made = new Map<string, Endpoint>()
  readonly #states = new Map<string, EndpointState>()
  /** Of these the store does not have what is known here: it failed. */
  readonly #unkept = new Set<string>()
  #lastTurn: Promise<unknown> = Promise.resolve()

  constructor(parts: EndpointsParts, config: WebhooksConfig | undefined) {
    this.#parts = parts
    this.reload(config)
  }

  reload(config: WebhooksConfig | undefined): void {
    this.#config = config
    this.#inFile = new Map(
      (config?.endpoints ?? []).map((endpoint) => {
        const secrets = endpoint.secrets.map((secret) => ({ secret }))
        return [endpoint.name, { name: endpoint.name, origin: 'file', config: endpoint, secrets }]
      }),
    )
  }

  async restore(): Promise<void> {
    const { store, telemetry } = this.#parts
    for (const { name: note, text } of await store.notes(STATE_NOTE)) {
      const state = stateOf(text)
      if (state !== undefined) this.#states.set(note.slice(STATE_NOTE.length), state)
    }
    if (this.#config === undefined) return
    for (const { name: note, text } of await store.notes(NOTE)) {
      const name = note.slice(NOTE.length)
      const stored = storedDefinition(text)
      if (stored === undefined) continue
      const { document, secrets } = stored.document as StoredEndpoint
      // Where it may no longer be nothing is sent to, attempt by attempt: so it is told of, and what it has missed is kept until it may again.
      const read = readEndpointDocument(name, document)
      if ('wrong' in read) telemetry.event({ type: 'warning', message: `webhook endpoint ${name} is not served: ${read.wrong}` })
      else this.#made.set(name, { name, origin: 'api', config: read.value.endpoint, secrets, document })
    }
  }

  get(name: string): Endpoint | undefined {
    return this.#inFile.get(name) ?? this.#made.get(name)
  }

  /** How many were made over the API. */
  get made(): number {
    return this.#made.size
  }

  all(): readonly Endpoint[] {
    return [...new Map([...this.#made, ...this.#inFile]).values()]
  }

  /** Those that sign now, the newest first. */
  secretsOf({ secrets }: Endpoint): readonly string[] {
    return validSecrets(secrets, this.#parts.clock.now()).map(({ secret }) => secret)
  }

  stateOf(name: string): EndpointState {
    return this.#states.get(name) ?? {}
  }

  /** How each of them does, for people. */
  statuses(): readonly { readonly name: string; readonly disabledBecause?: string; readonly failingSince?: EpochMillis }[] {
    return this.all().map(({ name }) => {
      const { disabled, failingSince } = this.stateOf(name)
      return {
        name,
        ...(disabled !== undefined && { disabledBecause: disabled.reason }),
        ...(failingSince !== undefined && { failingSince }),
      }
    })
  }

  isDisabled(name: string): boolean {
    return this.#states.get(name)?.disabled !== undefined
  }

  /** One after the other: whoever changes an endpoint begins with what the change before has left. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#lastTurn.then(work)
    this.#lastTurn = turn.catch(() => undefined)
    return turn
  }

  /** Resolved = durable. */
  async set(config: EndpointConfig, document: unknown, secrets: readonly KeptSecret[]): Promise<Endpoint> {
    const { name } = config
    const stored: StoredEndpoint = { document, secrets: validSecrets(secrets, this.#parts.clock.now()) }
    await this.#parts.store.command([{ kind: 'note', name: NOTE + name, text: storedText('api', stored) }])
    const endpoint: Endpoint = { name, origin: 'api', config, secrets: stored.secrets, document }
    this.#made.set(name, endpoint)
    return endpoint
  }

  async drop(name: string): Promise<void> {
    await this.#parts.store.command([
      { kind: 'note', name: NOTE + name },
      { kind: 'note', name: STATE_NOTE + name },
    ])
    this.#made.delete(name)
    this.#states.delete(name)
  }

  /** It took a webhook: all is forgiven. */
  async succeeded(name: string): Promise<void> {
    const { failingSince, ...rest } = this.stateOf(name)
    if (failingSince !== undefined) await this.#setState(name, rest)
  }

  /** It did not. One that has only failed for long enough is disabled by that. */
  async failed(name: string, disableAfterMs: Millis): Promise<void> {
    const now = this.#parts.clock.now()
    const state = this.stateOf(name)
    if (state.disabled !== undefined) return
    const { failingSince = now } = state
    const failingMs = now - failingSince
    if (state.failingSince === undefined || failingMs >= FORGIVEN_AFTER * disableAfterMs) await this.#setState(name, { failingSince: now })
    else if (failingMs >= disableAfterMs) await this.disable(name, 'it has only failed for too long (webhooks.disableAfter)')
  }

  /** Resolved = durable. False: it was already. */
  async disable(name: string, reason: string): Promise<boolean> {
    const { clock, telemetry } = this.#parts
    if (this.isDisabled(name)) return this.#isKept(name)
    await this.#setState(name, { ...this.stateOf(name), disabled: { at: clock.now(), reason } })
    telemetry.event({ type: 'webhook-disabled', endpoint: name, reason })
    return true
  }

  /** Resolved = durable. False: it was already. */
  async enable(name: string): Promise<boolean> {
    if (!this.isDisabled(name)) return this.#isKept(name)
    await this.#setState(name, {})
    this.#parts.telemetry.event({ type: 'webhook-enabled', endpoint: name })
    return true
  }

  /** What is known counts at once: whoever asks meanwhile must not decide the same again. */
  async #setState(name: string, state: EndpointState): Promise<void> {
    const isEmpty = state.failingSince === undefined && state.disabled === undefined
    if (isEmpty) this.#states.delete(name)
    else this.#states.set(name, state)
    await this.#keepState(name)
  }

  /** Whoever asks again after the store had failed must not be told that all is done. */
  async #isKept(name: string): Promise<false> {
    if (this.#unkept.has(name)) await this.#keepState(name)
    return false
  }

  async #keepState(name: string): Promise<void> {
    const state = this.#states.get(name)
    try {
      await this.#parts.store.command([
        { kind: 'note', name: STATE_NOTE + name, ...(state !== undefined && { text: JSON.stringify(state) }) },
      ])
    } catch (error) {
      this.#unkept.add(name)
      throw error
    }
    if (this.#states.get(name) === state) this.#unkept.delete(name)
  }
}

/** Undefined: it was not written by us. */
function stateOf(text: string): EndpointState | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isMapping(value) ? (value as EndpointState) : undefined
  } catch {
    return undefined
  }
}
