/** The table of contents of the queue API: which address takes which methods, and who answers. Says nothing about how it is reached. */
import { failure } from '../../core/errors.ts'
import { cancelBatch, sendBatch, showBatch } from './batches.ts'
import { dropQueue, listQueues, putQueue, showQueue } from './define.ts'
import { browse, keys, peek, showJob } from './look.ts'
import { beginTask, cancelOrForget, move, pauseOrResume, purge, redrive, releaseKey, stopTask, tasks } from './mend.ts'
import { type ApiParts, storeUnavailable } from './parts.ts'
import { extend, progress, receive, settleCall } from './receive.ts'
import { type ApiReply, type ApiRequest, type Outcome } from './request.ts'
import { dropSchedule, listSchedules, putSchedule, showSchedule } from './schedules.ts'
import { send } from './send.ts'
import { dropSubscription, dropTopic, listTopics, publish, putSubscription, putTopic } from './topics.ts'
import {
  dropWebhook,
  listDeliveries,
  listWebhooks,
  putWebhook,
  replayWebhooks,
  resendWebhook,
  rotateSecret,
  showWebhook,
  switchWebhook,
  testWebhook,
} from './webhooks.ts'

/** `name` and `inner`: the segments that stand for names. */
type Handler = (request: ApiRequest, parts: ApiParts, name: string, inner: string) => Outcome | Promise<Outcome>
type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

const ADDRESSES: Readonly<Record<string, Partial<Record<Method, Handler>>>> = {
  queues: { GET: listQueues },
  'queues/*': { GET: showQueue, PUT: putQueue, DELETE: dropQueue },
  'queues/*/pause': { POST: (request, parts, name) => pauseOrResume(request, parts, name, 'pause') },
  'queues/*/resume': { POST: (request, parts, name) => pauseOrResume(request, parts, name, 'resume') },
  'queues/*/jobs': { GET: browse, POST: send },
  'queues/*/batches': { POST: sendBatch },
  'queues/*/receive': { POST: receive },
  'queues/*/settle': { POST: settleCall },
  'queues/*/extend': { POST: extend },
  'queues/*/progress': { POST: progress },
  'queues/*/peek': { GET: peek },
  'queues/*/keys': { GET: keys },
  'queues/*/keys/release': { POST: releaseKey },
  'queues/*/tasks': { POST: beginTask },
  'queues/*/purge': { POST: purge },
  'jobs/*': { GET: showJob, DELETE: cancelOrForget },
  'jobs/*/redrive': { POST: redrive },
  'jobs/*/move': { POST: move },
  'batches/*': { GET: showBatch, DELETE: cancelBatch },
  tasks: { GET: tasks },
  'tasks/*': { DELETE: stopTask },
  schedules: { GET: listSchedules },
  'schedules/*': { GET: showSchedule, PUT: putSchedule, DELETE: dropSchedule },
  topics: { GET: listTopics },
  'topics/*': { PUT: putTopic, DELETE: dropTopic },
  'topics/*/subscriptions/*': { PUT: putSubscription, DELETE: dropSubscription },
  'topics/*/publish': { POST: publish },
  webhooks: { GET: listWebhooks },
  'webhooks/*': { GET: showWebhook, PUT: putWebhook, DELETE: dropWebhook },
  'webhooks/*/enable': { POST: (request, parts, name) => switchWebhook(request, parts, name, 'enable') },
  'webhooks/*/disable': { POST: (request, parts, name) => switchWebhook(request, parts, name, 'disable') },
  'webhooks/*/rotate': { POST: rotateSecret },
  'webhooks/*/test': { POST: testWebhook },
  'webhooks/*/deliveries': { GET: listDeliveries },
  'webhooks/*/resend': { POST: resendWebhook },
  'webhooks/*/replay': { POST: replayWebhooks },
}

export type Answered = ApiReply | { readonly failed: Exclude<Outcome, ApiReply>; readonly headers: readonly string[] }

/** Never rejects for what is expected; a rejection is a bug. */
export async function answerCall(request: ApiRequest, parts: ApiParts): Promise<Answered> {
  const { segments } = request
  const address = addressOf(segments)
  const methods = Object.hasOwn(ADDRESSES, address) ? ADDRESSES[address] : undefined
  if (methods === undefined)
    return { failed: failure('not_found', 'There is nothing at this address; docs/queue-api.md says what there is.'), headers: [] }
  const method = request.method === 'HEAD' ? 'GET' : request.method
  const handler = Object.hasOwn(methods, method) ? methods[method as Method] : undefined
  if (handler === undefined) {
    const allow = [...Object.keys(methods), ...(methods.GET === undefined ? [] : ['HEAD'])].join(', ')
    return { failed: failure('method_not_allowed', `Allowed here: ${allow}.`), headers: ['Allow', allow] }
  }
  const outcome = await carriedOut(request, parts, handler)
  return 'status' in outcome ? outcome : { failed: outcome, headers: [] }
}

async function carriedOut(request: ApiRequest, parts: ApiParts, handler: Handler): Promise<Outcome> {
  const [, name = '', , inner = ''] = request.segments
  try {
    return await handler(request, parts, name, inner)
  } catch (error) {
    parts.telemetry.event({ type: 'warning', message: `queue API, ${request.method} ${addressOf(request.segments)}: ${String(error)}` })
    return storeUnavailable()
  }
}

/** With a star for each name. A name is never decoded: those that there are need no encoding. */
function addressOf(segments: readonly string[]): string {
  if (segments.length > 4) return ''
  return segments.map((segment, i) => (i === 1 || (i === 3 && segments[0] === 'topics') ? '*' : segment)).join('/')
}
