/** `spillway webhooks` against a gateway: what it prints, what it changes, and that it shows no secret but a new one. */
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import { type Outcome, runInProcess } from '../support/run-command.ts'
import { until } from '../support/until.ts'
import { SECRET, startWebhookRig, type WebhookRig } from '../support/webhook-rig.ts'

function spillway(rig: WebhookRig, ...args: readonly string[]): Promise<Outcome> {
  return runInProcess(['webhooks', ...args, '--admin', `http://127.0.0.1:${rig.gateway.admin.port}`], { environment: {} })
}

test('endpoints are listed, shown, disabled, enabled, tested; webhooks are sent again; secrets are rotated', async () => {
  await using rig = await startWebhookRig({ main: { headers: { 'x-auth': 'of-the-receiver' }, queues: ['work'] } })
  const made = (await rig.api('PUT', '/webhooks/made', { url: rig.url.replace('127.0.0.1', 'example.com').replace('http', 'https') }))
    .document
  await rig.submit()
  await rig.received(1)
  await until(
    'it is settled',
    async () => (await rig.api('GET', '/webhooks/main/deliveries?status=succeeded')).document.deliveries.length === 1,
  )
  const outputs: Outcome[] = []
  const run = async (...args: readonly string[]): Promise<string> => {
    const outcome = await spillway(rig, ...args)
    outputs.push(outcome)
    assert.equal(outcome.code, 0, outcome.err)
    return outcome.out
  }
  assert.match(await run(), /^main +ok +job\.succeeded,.* +work +http:\/\/127\.0\.0\.1:\d+\/hook$/m)
  const shown = await run('show', 'main')
  assert.match(shown, /^signed by +v1$/m)
  assert.match(shown, /^headers +x-auth$/m)
  const webhook = /^(\w{11}) +succeeded +1\/4 /m.exec(shown)?.[1] as string
  assert.match(await run('disable', 'main'), /^main is disabled$/m)
  assert.match(await run('list'), /^main +disabled /m)
  assert.match(await run('test', 'main'), /^webhook \w{11} is on its way/)
  await rig.received(2)
  assert.match(await run('enable', 'main'), /^main is enabled$/m)
  assert.match(await run('resend', 'main', webhook), /^webhook \w{11} is on its way/)
  await rig.received(3)
  assert.match(await run('replay', 'main'), /by task \d+$/m)
  assert.match(await run('replay', 'main', '--all', '--since', '1h'), /^1 webhook goes out again$/m)
  await rig.received(4)
  await run('show', 'made', '--json')
  for (const { out, err } of outputs) {
    for (const secret of [SECRET.slice(6), made.newSecrets[0].slice(6), 'of-the-receiver']) assert.ok(!`${out}${err}`.includes(secret))
  }
  assert.match(await run('rotate', 'made'), /^whsec_[A-Za-z0-9+/]{43}=\n$/)
})

test('a replay of all that has found no room says how to go on with the rest', async () => {
  const held: ServerResponse[] = []
  await using rig = await startWebhookRig({
    main: null,
    webhooks: { limits: { jobs: 1 } },
    receive: (_, response) => void held.push(response),
  })
  await rig.submit()
  await rig.submit()
  await until('both have ended', async () => (await rig.api('GET', '/queues/work')).document.counts.succeeded === 2)
  await rig.api('PUT', '/webhooks/late', { url: `http://127.0.0.1:${rig.receiver.port}/` })
  const stopped = await spillway(rig, 'replay', 'late', '--all', '--since', '1h')
  assert.equal(stopped.code, 1)
  const rest = /; 1 webhook had gone out; the others: (--all --since \S+ --after \S+)$/m.exec(stopped.err)?.[1] ?? ''
  await until('the first is on its way', () => held.length === 1)
  held[0]?.end()
  await until('it is delivered', async () => (await rig.deliveries()).every(({ status }) => status === 'succeeded'))
  assert.match((await spillway(rig, 'replay', 'late', ...rest.split(' '))).out, /^1 webhook goes out again$/m)
  const ids = (await rig.received(2)).map(({ headers }) => headers['webhook-id'])
  assert.equal(new Set(ids).size, 2)
  held[1]?.end()
})

test('what cannot be done is said in one line', async () => {
  await using rig = await startWebhookRig()
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['show', 'nobody'], 1, /no webhook endpoint of this name/],
    [['rotate', 'main'], 1, /stands in the configuration/],
    [['resend', 'main', 'nothing'], 1, /no such job/],
    [['replay', 'main', '--since', 'soon'], 2, /--since must be a span/],
    [['replay', 'main', '--all'], 1, /since: is needed/],
    [['enable'], 2, /ENDPOINT is missing/],
  ]
  for (const [args, code, wrong] of cases) {
    const outcome = await spillway(rig, ...args)
    assert.equal(outcome.code, code, args.join(' '))
    assert.match(outcome.err, wrong)
  }
})
