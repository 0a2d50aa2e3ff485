/**
 * Batches and their results between the two threads: one JSON text, and all bodies in one buffer that changes its owner instead of being
 * copied. (A structured clone of a body that came from a socket would copy the whole slab it lies in.)
 */
import type { Bytes, EpochMillis, Millis, MonotonicMillis } from '../../lib/units.ts'
import type { LeaseRequest } from '../../ports/job-store.ts'
import type { Call, PackedCommand, PackedJob, PackedLease, PackedRead, PackedSettlement } from '../ledger/calls.ts'
import { type Reply, replyBytes } from '../ledger/execute.ts'
import { type Payload, payloadBytes } from '../ledger/tables.ts'
import type { BatchContext, CallResult } from './engine.ts'

/** The store thread has neither clock nor chance of its own; a batch brings both. */
export interface Batch {
  readonly now: EpochMillis
  readonly monotonic: MonotonicMillis
  readonly calls: string
  readonly bytes: ArrayBuffer
  /** Where the secrets begin in `bytes`. */
  readonly secretsAt: number
}

export interface BatchReply {
  readonly results: string
  readonly bytes: ArrayBuffer
  readonly notices: readonly Notice[]
}

/** What happened beside. */
export type Notice =
  | { readonly kind: 'sync'; readonly took: Millis; readonly operations: number }
  | { readonly kind: 'corrupt'; readonly what: string }

export const SECRET_BYTES: Bytes = 16

/** Where a payload lies in the buffer: offset, bytes of its head, bytes of its body. */
type PayloadRef = readonly [offset: number, head: number, body: number]

type Wired<T> = { readonly [K in keyof T]: K extends 'request' | 'answer' ? PayloadRef : K extends 'buckets' ? string : T[K] }
type WiredJob = Wired<PackedJob>
type WiredSettlement = PackedSettlement extends infer S ? (S extends PackedSettlement ? Wired<S> : never) : never
type WiredCommand =
  | Exclude<PackedCommand, { kind: 'redrive' | 'schedule' }>
  | Wired<Extract<PackedCommand, { kind: 'redrive' }>>
  | {
      readonly kind: 'schedule'
      readonly schedule: Omit<Extract<PackedCommand, { kind: 'schedule' }>['schedule'], 'job'> & { readonly job: WiredJob }
    }
type WiredCall =
  | Exclude<Call, { kind: 'submit' | 'submitWhole' | 'lease' | 'settle' | 'command' }>
  | { readonly kind: 'command'; readonly commands: readonly WiredCommand[] }
  | (Omit<Extract<Call, { kind: 'submit' }>, 'jobs'> & { readonly jobs: readonly WiredJob[] })
  | (Omit<Extract<Call, { kind: 'submitWhole' }>, 'jobs'> & { readonly jobs: readonly WiredJob[] })
  | { readonly kind: 'lease'; readonly requests: readonly Wired<LeaseRequest>[] }
  | { readonly kind: 'settle'; readonly settlements: readonly WiredSettlement[] }

export function encodeBatch(
  calls: readonly Call[],
  moment: { readonly now: EpochMillis; readonly monotonic: MonotonicMillis },
  secrets: Uint8Array,
): Batch {
  const writer = new PayloadWriter(calls.reduce((sum, call) => sum + callBytes(call), secrets.length))
  const text = JSON.stringify(calls.map((call) => encodeCall(call, writer)))
  return { ...moment, calls: text, secretsAt: writer.append(secrets), bytes: writer.buffer }
}

export function decodeBatch(batch: Batch): { readonly calls: readonly Call[]; readonly context: BatchContext } {
  const calls = (JSON.parse(batch.calls) as WiredCall[]).map((call) => decodeCall(call, batch.bytes))
  const secrets = Buffer.from(batch.bytes, batch.secretsAt)
  let at = 0
  const context: BatchContext = {
    now: batch.now,
    monotonic: batch.monotonic,
    secret() {
      // Two jobs, or two attempts, of one secret would be open to each other's clients and servers.
      if (at + SECRET_BYTES > secrets.length) throw new Error('a batch needs more secrets than it brought')
      at += SECRET_BYTES
      return secrets.toString('base64url', at - SECRET_BYTES, at)
    },
    startOver() {
      at = 0
    },
  }
  return { calls, context }
}

export function encodeReply(results: readonly CallResult[], calls: readonly Call[], notices: readonly Notice[]): BatchReply {
  const bytes = results.map((result, at) => bytesOf(result, calls[at]))
  let writer: PayloadWriter
  let affordable = results
  try {
    writer = new PayloadWriter(bytes.reduce((sum, each) => sum + each, 0))
  } catch {
    // What was done stays done. Whoever asked for no bytes is told so, memory or not.
    writer = new PayloadWriter(0)
    affordable = results.map((result, at) => (bytes[at] === 0 ? result : { error: 'there is not enough memory for the reply' }))
  }
  const wired = affordable.map((result, at) => ('error' in result ? result : { reply: encodeReplyOf(calls[at], result.reply, writer) }))
  return { results: JSON.stringify(wired), bytes: writer.buffer, notices }
}

export function decodeReply(reply: BatchReply, calls: readonly Call[]): readonly CallResult[] {
  const results = JSON.parse(reply.results) as CallResult[]
  return results.map((result, at) => ('error' in result ? result : { reply: decodeReplyOf(calls[at], result.reply, reply.bytes) }))
}

class PayloadWriter {
  readonly buffer: ArrayBuffer
  readonly #bytes: Uint8Array
  #used = 0

  constructor(bytes: Bytes) {
    this.buffer = new ArrayBuffer(bytes)
    this.#bytes = new Uint8Array(this.buffer)
  }

  put(payload: Payload): PayloadRef {
    const offset = this.append(payload.head)
    this.append(payload.body)
    return [offset, payload.head.length, payload.body.length]
  }

  append(bytes: Uint8Array): number {
    const offset = this.#used
    this.#bytes.set(bytes, offset)
    this.#used += bytes.length
    return offset
  }
}

function payloadAt([offset, head, body]: PayloadRef, bytes: ArrayBuffer): Payload {
  return { head: new Uint8Array(bytes, offset, head), body: new Uint8Array(bytes, offset + head, body) }
}

/** Of the bodies and heads that go with it. */
export function callBytes(call: Call): Bytes {
  if (call.kind === 'submit' || call.kind === 'submitWhole') return call.jobs.reduce((sum, job) => sum + payloadBytes(job.request), 0)
  if (call.kind === 'command') return call.commands.reduce((sum, command) => sum + commandBytes(command), 0)
  if (call.kind !== 'settle') return 0
  return call.settlements.reduce((sum, { answer }) => sum + (answer === undefined ? 0 : payloadBytes(answer)), 0)
}

function commandBytes(command: PackedCommand): Bytes {
  if (command.kind === 'schedule') return payloadBytes(command.schedule.job.request)
  return command.kind === 'redrive' && command.request !== undefined ? payloadBytes(command.request) : 0
}

function encodeCall(call: Call, writer: PayloadWriter): WiredCall {
  switch (call.kind) {
    case 'submit':
    case 'submitWhole':
      return { ...call, jobs: call.jobs.map((job) => ({ ...job, request: writer.put(job.request) })) }
    case 'lease':
      return { kind: 'lease', requests: call.requests.map((request) => ({ ...request, buckets: hex(request.buckets) })) }
    case 'settle':
      return { kind: 'settle', settlements: call.settlements.map((settlement) => encodeSettlement(settlement, writer)) }
    case 'command':
      return { kind: 'command', commands: call.commands.map((command) => encodeCommand(command, writer)) }
    default:
      return call
  }
}

function encodeSettlement(settlement: PackedSettlement, writer: PayloadWriter): WiredSettlement {
  const { answer, ...rest } = settlement
  return (answer === undefined ? rest : { ...rest, answer: writer.put(answer) }) as WiredSettlement
}

function encodeCommand(command: PackedCommand, writer: PayloadWriter): WiredCommand {
  if (command.kind === 'schedule') {
    const { schedule } = command
    return { kind: 'schedule', schedule: { ...schedule, job: { ...schedule.job, request: writer.put(schedule.job.request) } } }
  }
  if (command.kind !== 'redrive') return command
  const { request, ...rest } = command
  return request === undefined ? rest : { ...rest, request: writer.put(request) }
}

function decodeCommand(command: WiredCommand, bytes: ArrayBuffer): PackedCommand {
  if (command.kind === 'schedule') {
    const { schedule } = command
    return { kind: 'schedule', schedule: { ...schedule, job: { ...schedule.job, request: payloadAt(schedule.job.request, bytes) } } }
  }
  if (command.kind !== 'redrive') return command
  const { request, ...rest } = command
  return request === undefined ? rest : { ...rest, request: payloadAt(request, bytes) }
}

function decodeCall(call: WiredCall, bytes: ArrayBuffer): Call {
  switch (call.kind) {
    case 'submit':
    case 'submitWhole':
      return { ...call, jobs: call.jobs.map((job) => ({ ...job, request: payloadAt(job.request, bytes) })) }
    case 'lease':
      return { kind: 'lease', requests: call.requests.map((request) => ({ ...request, buckets: Buffer.from(request.buckets, 'hex') })) }
    case 'settle':
      return { kind: 'settle', settlements: call.settlements.map((settlement) => decodeSettlement(settlement, bytes)) }
    case 'command':
      return { kind: 'command', commands: call.commands.map((command) => decodeCommand(command, bytes)) }
    default:
      return call
  }
}

function decodeSettlement(settlement: WiredSettlement, bytes: ArrayBuffer): PackedSettlement {
  const { answer, ...rest } = settlement
  return (answer === undefined ? rest : { ...rest, answer: payloadAt(answer, bytes) }) as PackedSettlement
}

function bytesOf(result: CallResult, call: Call | undefined): Bytes {
  return 'error' in result || call === undefined ? 0 : replyBytes(call, result.reply)
}

function encodeReplyOf(call: Call | undefined, reply: Reply, writer: PayloadWriter): unknown {
  if (call?.kind === 'lease') {
    const leases = reply as readonly (readonly PackedLease[])[]
    return leases.map((batch) => batch.map((lease) => ({ ...lease, request: writer.put(lease.request) })))
  }
  if (call?.kind !== 'read') return reply
  const reads = reply as readonly (PackedRead | undefined)[]
  return reads.map((read) => read && encodeRead(read, writer))
}

function decodeReplyOf(call: Call | undefined, reply: unknown, bytes: ArrayBuffer): Reply {
  if (call?.kind === 'lease') {
    const leases = reply as readonly (readonly Wired<PackedLease>[])[]
    return leases.map((batch) => batch.map((lease) => ({ ...lease, request: payloadAt(lease.request, bytes) })))
  }
  if (call?.kind !== 'read') return reply as Reply
  const reads = reply as readonly (Wired<PackedRead> | null)[]
  return reads.map((read) => decodeRead(read, bytes))
}

function encodeRead({ answer, request, ...rest }: PackedRead, writer: PayloadWriter): Wired<PackedRead> {
  return {
    ...rest,
    ...(answer !== undefined && { answer: writer.put(answer) }),
    ...(request !== undefined && { request: writer.put(request) }),
  }
}

/** JSON has null where the port has undefined. */
function decodeRead(read: Wired<PackedRead> | null, bytes: ArrayBuffer): PackedRead | undefined {
  if (read === null) return undefined
  const { answer, request, ...rest } = read
  return {
    ...rest,
    ...(answer !== undefined && { answer: payloadAt(answer, bytes) }),
    ...(request !== undefined && { request: payloadAt(request, bytes) }),
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
}
