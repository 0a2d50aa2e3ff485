/** The queue API on a listener: below the job addresses, for those who send the token of an API key. */
import { failure, type Failure } from '../../core/errors.ts'
import { headerValue } from '../../http1/message.ts'
import { reasonPhrase } from '../../http1/write.ts'
import type { Bytes } from '../../lib/units.ts'
import type { Call } from '../../net/call.ts'
import { sendFailure } from '../problem.ts'
import { answerCall } from './queue-api.ts'
import type { ApiParts } from './parts.ts'
import type { ApiReply } from './request.ts'
import type { ApiKeys } from './rights.ts'

/** What a socket takes at once. */
const SMALL_BYTES: Bytes = 64 * 1024

/** Resolves when the client has been answered or is gone. */
export async function handleApiCall(call: Call, parts: ApiParts, keys: ApiKeys, rest: string): Promise<void> {
  call.log.mode = 'api'
  if (!keys.any) return refuse(call, failure('not_found', 'There is nothing at this address.'))
  const caller = keys.find(headerValue(call.head.headers, 'authorization'))
  if (caller === undefined) {
    const detail = 'Send `Authorization: Bearer <token>` with the token of an API key.'
    return refuse(call, failure('unauthorized', detail), ['WWW-Authenticate', 'Bearer realm="spillway"'])
  }
  const listeners: (() => void)[] = []
  call.onGone(() => {
    for (const listener of listeners.splice(0)) listener()
  })
  const { head, body } = call
  const answered = await answerCall(
    {
      method: head.method,
      segments: rest.split('/'),
      get query() {
        return new URLSearchParams(head.query)
      },
      contentType: headerValue(head.headers, 'content-type'),
      body,
      caller,
      asker: {
        get gone() {
          return call.gone
        },
        onGone: (listener) => void listeners.push(listener),
      },
    },
    parts,
  )
  if ('failed' in answered) return refuse(call, answered.failed, answered.headers)
  await write(call, answered, (listener) => void listeners.push(listener))
}

function refuse(call: Call, failed: Failure, headers: readonly string[] = []): void {
  if (call.gone) return
  // There may be more of the body that nobody wants.
  if (!call.body.complete) call.closeAfter()
  sendFailure(call, failed, headers)
}

async function write(call: Call, reply: ApiReply, onGone: (listener: () => void) => void): Promise<void> {
  const { status, headers, body = '', free } = reply
  if (typeof body !== 'string') return stream(call, reply, body, onGone)
  if (call.gone) return free?.()
  const bytes = Buffer.from(body, 'utf8')
  if (free === undefined || bytes.length <= SMALL_BYTES) {
    call.send(status, headers, bytes)
    return free?.()
  }
  onGone(free)
  call.sendHead(status, reasonPhrase(status), headers, bytes.length)
  call.writeAll(bytes, free)
}

/** At the client's pace: what it does not read is not made. */
async function stream(
  call: Call,
  { status, headers }: ApiReply,
  body: AsyncGenerator<string, void>,
  onGone: (listener: () => void) => void,
): Promise<void> {
  let resume: () => void = () => undefined
  onGone(() => resume())
  call.sendHead(status, reasonPhrase(status), headers, 'chunked')
  for await (const piece of body) {
    if (call.gone) continue
    const flowing = new Promise<void>((resolve) => {
      resume = resolve
      call.onDrain(resolve)
    })
    if (!call.write(piece) && !call.gone) await flowing
  }
  call.end()
}
