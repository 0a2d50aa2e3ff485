/** The budget for bodies in memory: when it is full the gateway first stops reading, and refuses only those who waited too long. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startJobsRig, type JobsRig } from '../support/jobs-rig.ts'
import { RawClient } from '../support/raw-client.ts'
import { testConfig, testRoute } from '../support/test-config.ts'
import { until } from '../support/until.ts'

const KIB = 1024
const HEAD = 'POST /work HTTP/1.1\r\nHost: a\r\nPrefer: respond-async\r\n'

function startRig(waitMs: number): Promise<JobsRig> {
  const { limits } = testConfig({ pools: [], queues: [], routes: [] })
  return startJobsRig({
    pool: { waitMs },
    routes: [testRoute({ name: '/*', mode: 'queue' })],
    config: { limits: { ...limits, buffered: 64 * KIB } },
  })
}

/** Takes 60 of the 64 KiB and goes no further. */
async function startHoarder(rig: JobsRig): Promise<RawClient> {
  const client = await RawClient.connect(rig.port)
  client.write(`${HEAD}Content-Length: ${100 * KIB}\r\n\r\n`, Buffer.alloc(60 * KIB))
  await until('its body takes the room', () => rig.budget.used === 60 * KIB)
  return client
}

test('a body that finds no room waits, and is taken when there is some', async () => {
  await using rig = await startRig(20_000)
  const hoarder = await startHoarder(rig)
  const client = await RawClient.connect(rig.port)
  client.write(`${HEAD}Content-Length: ${10 * KIB}\r\n\r\n`, Buffer.alloc(10 * KIB, 'b'))
  await until('it waits', () => rig.budget.waiting === 1)
  assert.equal(client.text, '')
  hoarder.destroy()
  assert.equal((await client.untilAnswered('POST'))[0]?.status, 202)
  await until('the server has it whole', () => rig.servers[0]?.received[0]?.body.equals(Buffer.alloc(10 * KIB, 'b')) === true)
  await until('all room is given back', () => rig.budget.used === 0)
  client.destroy()
})

test('a body in chunks is read no further while it waits', async () => {
  await using rig = await startRig(20_000)
  const hoarder = await startHoarder(rig)
  const client = await RawClient.connect(rig.port)
  client.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n`)
  const chunk = `2000\r\n${'c'.repeat(8 * KIB)}\r\n`
  client.write(chunk)
  await until('it waits', () => rig.budget.waiting === 1)
  for (let i = 1; i < 6; i++) client.write(chunk)
  client.write('0\r\n\r\n')
  hoarder.destroy()
  assert.equal((await client.untilAnswered('POST'))[0]?.status, 202)
  await until('the server has it whole', () => rig.servers[0]?.received[0]?.body.equals(Buffer.alloc(48 * KIB, 'c')) === true)
  client.destroy()
})

test('a body that waits longer than a request may wait for a server is refused, and whoever has room goes on', async () => {
  await using rig = await startRig(200)
  const hoarder = await startHoarder(rig)
  const client = await RawClient.connect(rig.port)
  client.write(`${HEAD}Content-Length: ${10 * KIB}\r\n\r\n`, Buffer.alloc(10 * KIB))
  const [answer] = await client.untilAnswered('POST')
  assert.equal(answer?.status, 503)
  assert.match(String(answer.header('retry-after')), /^[123]$/)
  assert.match(answer?.body.toString() ?? '', /limits\.buffered/)
  await until('nobody waits', () => rig.budget.waiting === 0)
  client.destroy()
  hoarder.destroy()
  await until('all room is given back', () => rig.budget.used === 0)
})

test('an answer that finds no room is read when there is some; the job runs once', async () => {
  await using rig = await startRig(20_000)
  rig.servers[0]!.handle = (_, response) => void response.end(Buffer.alloc(32 * KIB, 'r'))
  const hoarder = await startHoarder(rig)
  const job = await rig.submit()
  await until('the answer waits', () => rig.budget.waiting === 1)
  hoarder.destroy()
  assert.equal((await rig.ended(job.id)).status, 'succeeded')
  assert.equal(rig.servers[0]?.received.length, 1)
  await until('all room is given back', () => rig.budget.used === 0)
})
