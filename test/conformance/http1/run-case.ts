/** Runs one case: plays its client and its server byte by byte, then looks at what each of them got. */
import assert from 'node:assert/strict'
import type { RawAnswer } from '../../support/raw-answers.ts'
import { RawClient, rawAsk } from '../../support/raw-client.ts'
import { fieldIn, fieldsIn, OK, type RawConnection } from '../../support/raw-server.ts'
import { until } from '../../support/until.ts'
import type { Answer, Case, FieldCheck, FieldChecks, Got, Reply, Step } from './case.ts'
import type { CaseRig, Received } from './rig.ts'

/** On the case's own connection: its answer proves that both sides agree on where the messages before it ended. */
const NEXT = 'GET /next HTTP/1.1\r\nHost: a\r\n\r\n'
/** On another one: whatever the case was, the gateway serves on, and all that it sent to servers before has arrived. */
const ALIVE = 'GET /alive HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

export async function runCase(rig: CaseRig, row: Case): Promise<void> {
  const client = await RawClient.connect(rig.gateway.port)
  try {
    serve(rig, list(row.server ?? OK))
    const steps: readonly Step[] = typeof row.client === 'string' ? [row.client] : row.client
    for (const step of steps) await take(step, client, rig)
    const methods = row.methods ?? [methodOf(steps)]
    const answers = await untilOver(client, row, methods)
    await assertAlive(rig, row)
    assertAnswers(answers, list(row.answer), row)
    if (row.got !== undefined) await assertGot(requestsOf(rig), list(row.got))
    if (row.connections !== undefined) assert.equal(connectionsOf(rig), row.connections, 'connections to servers')
  } finally {
    client.destroy()
    await rig.clear()
  }
}

function list<T extends object | string>(one: T | readonly T[]): readonly T[] {
  return Array.isArray(one) ? (one as readonly T[]) : [one as T]
}

function methodOf(steps: readonly Step[]): string {
  const [first] = steps
  return /^(?:\r\n)?([A-Z]+) /.exec(typeof first === 'string' ? first : '')?.[1] ?? 'GET'
}

// --- playing

function serve(rig: CaseRig, replies: readonly Reply[]): void {
  let nth = 0
  rig.handle = async (connection, head) => {
    if (isOurs(head)) return void connection.write(OK)
    const reply = replies[Math.min(nth++, replies.length - 1)] as Reply
    const { bytes, then, after } = typeof reply === 'string' ? { bytes: reply } : reply
    await (after === undefined ? untilWhole(connection, head) : connection.untilText(after))
    connection.write(bytes)
    if (then === 'close') connection.end()
  }
}

function isOurs(head: string): boolean {
  return head.startsWith('GET /next ') || head.startsWith('GET /alive ')
}

/** The server has the body, too. */
async function untilWhole(connection: RawConnection, head: string): Promise<void> {
  const length = Number(fieldIn(head, 'content-length') ?? 0)
  const isChunked = fieldIn(head, 'transfer-encoding') !== undefined
  const isWhole = (): boolean => {
    const { text } = connection
    const body = text.slice(text.lastIndexOf(head) + head.length)
    return isChunked ? /(?:^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n$/.test(body) : body.length >= length
  }
  await until('the server has the whole request', () => isWhole() || connection.ended || connection.closed)
}

async function take(step: Step, client: RawClient, rig: CaseRig): Promise<void> {
  if (typeof step === 'string') client.write(step)
  else if ('reads' in step) await client.untilText(step.reads)
  else if ('ends' in step) client.end()
  else if ('resets' in step) rig.received.at(-1)?.connection.reset()
  else if ('adds' in step) rig.received.at(-1)?.connection.write(step.adds)
  else {
    const { reached } = step
    await until(
      () => `a server has ${JSON.stringify(reached)} (the client: ${JSON.stringify(client.text)})`,
      () => rig.received.some(({ connection }) => connection.text.includes(reached)),
    )
  }
}

/** The answers of the case, without that to the request behind it. */
async function untilOver(client: RawClient, { ends }: Case, methods: readonly string[]): Promise<RawAnswer[]> {
  if (ends === 'tunnel') return client.answers(...methods)
  if (ends !== undefined) {
    await client.untilClosed()
    if (ends === 'closed') assert.equal(client.error, '', 'the connection ends orderly')
    if (ends === 'reset') assert.equal(client.error, 'ECONNRESET', 'the connection ends in disorder')
    const answers = client.answers(...methods)
    if (methods.at(-1) === 'HEAD') assert.ok(client.text.endsWith('\r\n\r\n'), `no content: ${JSON.stringify(client.text)}`)
    if (ends !== 'reset') assert.equal(answers.at(-1)?.complete ?? true, ends === 'closed', `complete: ${JSON.stringify(client.text)}`)
    return answers
  }
  await client.untilAnswered(...methods)
  assert.ok(!client.ended && !client.closed, `the connection stays: ${JSON.stringify(client.text)}`)
  client.write(NEXT)
  const answers = await client.untilAnswered(...methods, 'GET')
  const next = answers.pop()
  assert.equal(next?.status, 200, `the next request is answered: ${JSON.stringify(client.text)}`)
  assert.equal(next.body.toString(), 'ok', 'and with its own answer')
  return answers
}

/** Also where there is nobody to ask: then it says so. */
async function assertAlive(rig: CaseRig, { gateway }: Case): Promise<void> {
  const expected = gateway === 'deserted' || gateway === 'full' ? 503 : 200
  assert.equal((await rawAsk(rig.gateway.port, ALIVE)).status, expected, 'the gateway serves on')
}

// --- looking

interface Request extends Received {
  readonly body: string
}

/** Those of the case, each with what stood behind its head. */
function requestsOf(rig: CaseRig): readonly Request[] {
  const at = new Map<RawConnection, number>()
  const all = rig.received.map(({ connection, head }) => {
    const start = connection.text.indexOf(head, at.get(connection) ?? 0) + head.length
    at.set(connection, start)
    return { connection, head, start }
  })
  return all
    .map(({ connection, head, start }, i) => {
      const next = all.slice(i + 1).find((later) => later.connection === connection)
      const end = next === undefined ? connection.text.length : next.start - next.head.length
      return { connection, head, body: connection.text.slice(start, end) }
    })
    .filter(({ head }) => !isOurs(head))
}

function connectionsOf(rig: CaseRig): number {
  return new Set(rig.received.filter(({ head }) => !head.startsWith('GET /alive ')).map(({ connection }) => connection)).size
}

async function assertGot(requests: readonly Request[], expected: readonly Got[]): Promise<void> {
  assert.equal(requests.length, expected.length, `requests that reached a server: ${JSON.stringify(requests.map(({ head }) => head))}`)
  for (const [i, { line, fields, body, head, cut }] of expected.entries()) {
    const request = requests[i] as Request
    if (line !== undefined) assert.equal(request.head.slice(0, request.head.indexOf('\r\n')), line)
    if (head !== undefined) assert.ok(request.head.includes(head), `${JSON.stringify(head)} in ${JSON.stringify(request.head)}`)
    if (body !== undefined) assert.equal(request.body, body)
    assertFields(fields, (name) => fieldsIn(request.head, name), request.head)
    if (cut === true) await request.connection.untilGone()
  }
}

function assertAnswers(answers: readonly RawAnswer[], expected: readonly Answer[], { ends }: Case): void {
  const told = JSON.stringify(answers.map(({ status, fields, body }) => [status, fields, body.toString('latin1').slice(0, 300)]))
  assert.equal(answers.length, expected.length, `answers: ${told}`)
  for (const [i, { status, reason, fields, trailers, body, framing, head }] of expected.entries()) {
    const answer = answers[i] as RawAnswer
    assert.equal(answer.version, 'HTTP/1.1')
    if (status !== undefined) assert.equal(answer.status, status, told)
    if (reason !== undefined) assert.equal(answer.reason, reason)
    if (framing !== undefined) assert.equal(answer.framing, framing)
    if (trailers !== undefined) assert.deepEqual(answer.trailers, trailers)
    const text = answer.body.toString('latin1')
    if (typeof body === 'string') assert.equal(text, body)
    else if (body !== undefined) assert.match(text, body)
    const lines = answer.fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    if (head !== undefined) assert.ok(lines.includes(head), `${JSON.stringify(head)} in ${JSON.stringify(lines)}`)
    assertFields(fields, (name) => answer.all(name), told)
    if (answer.status >= 200 && ends !== 'broken') assert.ok(answer.complete, 'the answer is complete')
  }
}

function assertFields(checks: FieldChecks | undefined, valuesOf: (name: string) => string[], told: string): void {
  for (const [name, check] of Object.entries(checks ?? {})) assertValues(valuesOf(name), check, `${name}: ${told}`)
}

function assertValues(values: readonly string[], check: FieldCheck, told: string): void {
  if (typeof check === 'string') assert.deepEqual(values, [check], told)
  else if (check instanceof RegExp) {
    assert.equal(values.length, 1, told)
    assert.match(values[0] as string, check, told)
  } else assert.deepEqual(values, check, told)
}
