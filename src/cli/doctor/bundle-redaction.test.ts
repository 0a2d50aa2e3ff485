import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Config } from '../../config/config.ts'
import { loadText } from '../../config/load.ts'
import { Redaction, redactionFor } from './bundle-redaction.ts'

const SEED = Number(process.env['SEED'] ?? randomBytes(4).readUInt32LE())

const YAML = `
admin: { address: 10.0.0.1:9900, token: "\${ADMIN}" }
pools: { api: [ "http://\${BACKEND}:3001" ] }
queues: { reports: { timeout: "\${TIMEOUT}", attempts: 7 } }
routes:
  - { match: { path: /reports, method: POST, headers: { X-Api-Key: opensesame, X-Beta: on } }, mode: queue, queue: reports }
jobs: { publicUrl: "https://me:pa55word@api.example.com" }
`
const ENVIRONMENT = {
  ADMIN: 'adm1n-t0ken',
  BACKEND: 'inner-host.corp',
  TIMEOUT: '97s',
  HOME: '/home/somebody',
  DB_PASSWORD: 'hunter2-hunter2',
  ON_TOKEN: 'on',
}

function read(yaml: string, environment: Readonly<Record<string, string>>): { readonly config: Config; readonly redaction: Redaction } {
  const result = loadText(yaml, { file: 'x.yaml', folder: '/srv' }, environment)
  assert.ok(result.ok, JSON.stringify(result))
  return { config: result.config, redaction: redactionFor(result.config, yaml, environment) }
}

test('of a configuration tokens, values of the environment and credentials go, the rest stays', () => {
  const { config, redaction } = read(YAML, ENVIRONMENT)
  const shown = redaction.config(config) as Config
  const text = JSON.stringify(shown)
  for (const gone of ['adm1n', 'inner-host', 'opensesame', 'pa55word', '97000', 'me:']) assert.ok(!text.includes(gone), gone)
  assert.equal(shown.admin.token, '***')
  assert.equal(shown.pools[0]?.servers[0]?.host, '${BACKEND}')
  assert.equal(shown.queues[0]?.timeoutMs, '${TIMEOUT}')
  assert.equal(shown.queues[0]?.attempts, 7)
  assert.equal(shown.jobs.publicUrl, 'https://***@api.example.com')
  assert.deepEqual(shown.routes[0]?.match.headers, [
    ['x-api-key', '***'],
    ['x-beta', 'on'],
  ])
  assert.ok(shown.routes[0]?.name.includes('x-api-key=***'), 'also where the route is called by it')
})

test('of webhooks secrets, the values of headers, and what stands behind the path of a URL go', () => {
  const yaml = `${YAML}
webhooks:
  endpoints:
    billing:
      url: https://billing.example/in?key=opens-the-door
      secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]
      headers: { X-Door: knock-knock }
  callbacks: { urls: ["https://*.example.com/*"], secret: whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD }
`
  const { config, redaction } = read(yaml, ENVIRONMENT)
  const text = JSON.stringify(redaction.config(config))
  for (const gone of ['MfKQ9r8', 'C2FVsB', 'opens-the-door', 'knock-knock']) assert.ok(!text.includes(gone), gone)
  assert.ok(text.includes('https://billing.example/in?***') && text.includes('x-door'))
  assert.equal(redaction.text('header knock-knock'), 'header ***')
})

test('what was found once is taken out everywhere, in whatever form', () => {
  const { redaction } = read(YAML, ENVIRONMENT)
  assert.deepEqual(
    redaction.data({
      reason: 'GET http://INNER-HOST.corp:3001 failed',
      'inner-host.corp:3001': 256,
      said: ['Authorization: Bearer abc.def', 'password is hunter2-hunter2', 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOjF9.sig-nature'],
      cookie: 'a=b',
      deep: { sessionToken: { inner: 'x' }, count: 97_000, isOn: true, nothing: null },
    }),
    {
      reason: 'GET http://${BACKEND}:3001 failed',
      '${BACKEND}:3001': 256,
      said: ['Authorization: Bearer ***', 'password is ${DB_PASSWORD}', '***'],
      cookie: '***',
      deep: { sessionToken: '***', count: 97_000, isOn: true, nothing: null },
    },
  )
  assert.equal(redaction.text('it is on, at /home/somebody'), 'it is on, at /home/somebody', 'harmless words stay')
})

test('of metrics only labels are touched, figures never', () => {
  const { redaction } = read(YAML, { ...ENVIRONMENT, ADMIN: '1234' })
  const text = '# HELP x It "is"\nx{server="inner-host.corp:1",route="a\\"1234\\""} 1234567\nx 1234\n'
  assert.equal(redaction.metrics(text), '# HELP x It "is"\nx{server="${BACKEND}:1",route="a\\"***\\""} 1234567\nx 1234\n')
})

test('variables of a module are known by how it reads them', () => {
  const { config } = read(YAML, ENVIRONMENT)
  const module = "const a = process.env.ONE ?? '', b = process.env['TWO'], { env } = process, c = env?.THREE"
  const redaction = redactionFor(config, module, { ONE: 'first-value', TWO: 'second-value', THREE: 'third-value', FOUR: 'fourth-value' })
  assert.equal(redaction.text('first-value second-value third-value fourth-value'), '${ONE} ${TWO} ${THREE} fourth-value')
})

test('no job token, receipt or secret passes, whatever stands around it', () => {
  const id = fc.string({ unit: fc.constantFrom(...'0123456789abcdefghjkmnpqrstvwxyz'.split('')), minLength: 11, maxLength: 11 })
  const secret = fc.string({
    unit: fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'.split('')),
    minLength: 22,
    maxLength: 22,
  })
  const dot = fc.constantFrom('.', '%2e', '.17.')
  const around = fc.constantFrom('', ' ', '/', '"', '=', '?t=', ', ')
  const own = fc.string({ minLength: 4, maxLength: 40 }).filter((text) => text.trim().length >= 4 && !text.includes('*'))
  fc.assert(
    fc.property(
      fc.record({ job: id, hidden: secret, before: around, after: around, dot, password: own }),
      ({ job, hidden, password, ...parts }) => {
        const { before, after } = parts
        const redaction = new Redaction([{ text: password, shown: '***' }])
        const shown = redaction.text(`x${before}/${job}${parts.dot}${hidden}${after}`)
        assert.ok(!shown.includes(hidden), shown)
        const json = JSON.stringify(redaction.data({ said: `${before}${password}${after}`, list: [password] }))
        assert.ok(!(JSON.parse(json) as { said: string }).said.toLowerCase().includes(password.toLowerCase()), json)
      },
    ),
    { seed: SEED },
  )
})

test('canary: without the redaction all of it would be there', () => {
  const { config } = read(YAML, ENVIRONMENT)
  const text = JSON.stringify(config)
  for (const secret of ['adm1n-t0ken', 'inner-host.corp', 'opensesame', 'pa55word', '97000']) assert.ok(text.includes(secret), secret)
})
