/** `support-bundle` beside a gateway with secrets in every place that can hold one: none of them is in the file. */
import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { type ChildGateway, startGateway } from '../support/child-gateway.ts'
import { ask } from '../support/http-client.ts'
import { type Outcome, runCommand } from '../support/run-command.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const SECRETS = {
  adminToken: 'adm1n-t0ken-x7',
  environment: 'value-of-the-environment-q9',
  header: 'header-value-z3',
  signing: 'signing-secret-of-servers-w6',
  authorization: 'client-credential-k5',
  body: 'body-of-a-job-m1',
  result: 'result-of-a-job-n2',
}

let folder = ''
let server: TestServer
let gateway: ChildGateway
let token = ''

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-bundle-'))
  server = await startTestServer((_, response) => void response.end(SECRETS.result))
  const config = {
    admin: { address: '127.0.0.1:0', token: SECRETS.adminToken },
    pools: { api: [`http://127.0.0.1:${server.port}`] },
    routes: [{ match: 'PUT /reports', mode: 'queue' as const }, { match: { path: '/door', headers: { 'X-Api-Key': SECRETS.header } } }],
    signing: { keys: [{ id: 'first', secret: SECRETS.signing }] },
    log: { access: './access.log' },
  }
  gateway = await startGateway(config, { folder })
  const asked = { method: 'PUT', body: SECRETS.body, headers: { authorization: `Bearer ${SECRETS.authorization}` } }
  const accepted = await ask(`${gateway.url}/reports?key=${SECRETS.authorization}`, asked)
  assert.equal(accepted.status, 202)
  token = String(accepted.headers.location).split('/').at(-1) ?? ''
  await until('the job has ended', async () => (await ask(`${gateway.url}/_spillway/jobs/${token}/result`)).status === 200)
  await ask(`${gateway.url}/door`, { headers: { 'x-api-key': SECRETS.header } })
  await until('the calls are logged', () => readFileSync(join(folder, 'access.log'), 'utf8').includes('/door'))
  // Not ours: a line of another program, and a field that no version of ours writes.
  appendFileSync(join(folder, 'access.log'), `password=${SECRETS.body}\n{"type":"access","path":"/x","body":"${SECRETS.body}"}\n`)
  // What stood there as text when it started now comes from the environment, as it should.
  const written = readFileSync(join(folder, 'spillway.yaml'), 'utf8')
  writeFileSync(
    join(folder, 'bundle.yaml'),
    written.replace('"PUT /reports"', '"PUT /${PLACE}"').replace(`"${SECRETS.adminToken}"`, '"${ADMIN}"'),
  )
})
after(async () => {
  await gateway.kill()
  await server.kill()
  rmSync(folder, { recursive: true })
})

async function bundle(out: string): Promise<Outcome> {
  const environment = { PLACE: SECRETS.environment, ADMIN: SECRETS.adminToken, UNRELATED_PASSWORD: 'unrelated-password-v4' }
  return await runCommand(['support-bundle', 'bundle.yaml', '--admin', gateway.adminUrl, '--out', out], { cwd: folder, environment })
}

test('it holds what helps, and no secret', async () => {
  const { code, out, err } = await bundle('a.json.gz')
  assert.deepEqual([code, err], [0, ''])
  assert.match(out, /^wrote a\.json\.gz \(.* KiB\); read it before you send it: gunzip -c a\.json\.gz\n$/)
  assert.equal(statSync(join(folder, 'a.json.gz')).mode & 0o777, 0o600)
  const text = gunzipSync(readFileSync(join(folder, 'a.json.gz'))).toString()
  const read = JSON.parse(text) as Record<string, unknown> & {
    readonly metrics: string
    readonly log: { readonly lines: readonly Record<string, unknown>[] }
    readonly config: { readonly admin: unknown; readonly pools: readonly unknown[] }
    readonly status: { readonly pid: number }
  }
  for (const [what, secret] of Object.entries({ ...SECRETS, unrelated: 'unrelated-password-v4', token: token.split('.')[1] ?? '' })) {
    assert.ok(!text.includes(secret), `${what} is in the bundle`)
  }
  assert.ok(!text.includes('password=') && read.log.lines.every((line) => !Object.hasOwn(line, 'body')))
  // It is of use.
  assert.equal(read.status.pid, gateway.pid)
  assert.match(read.metrics, /^spillway_submissions_total\{outcome="created",queue="reports"\} 1$/m)
  assert.equal(read.config.pools.length, 1)
  assert.ok((read['findings'] as readonly unknown[]).length > 5)
  const paths = read.log.lines.map((line) => line['path'])
  assert.ok(paths.includes('/reports') && paths.includes(`/_spillway/jobs/${token.split('.')[0]}/result`), JSON.stringify(paths))
})

test('canary: the same secrets stand in what it is made of', () => {
  const config = readFileSync(join(folder, 'spillway.yaml'), 'utf8')
  const log = readFileSync(join(folder, 'access.log'), 'utf8')
  assert.ok(
    config.includes(SECRETS.adminToken) && config.includes(SECRETS.header) && log.includes(SECRETS.body) && log.includes(SECRETS.header),
  )
})

test('an existing file is never overwritten', async () => {
  writeFileSync(join(folder, 'b.json.gz'), 'mine')
  assert.deepEqual(await bundle('b.json.gz'), {
    code: 1,
    out: '',
    err: 'spillway support-bundle: b.json.gz is there already; nothing was written\n',
  })
  assert.equal(readFileSync(join(folder, 'b.json.gz'), 'utf8'), 'mine')
})

test('without a gateway the rest is there; without a configuration nothing is, and exit code 2', async () => {
  const arguments_ = ['support-bundle', 'bundle.yaml', '--admin', 'http://127.0.0.1:2', '--out', 'c.json.gz']
  const environment = { PLACE: 'reports', ADMIN: SECRETS.adminToken }
  assert.equal((await runCommand(arguments_, { cwd: folder, environment })).code, 0)
  const read = JSON.parse(gunzipSync(readFileSync(join(folder, 'c.json.gz'))).toString()) as Record<string, unknown>
  assert.equal(read['status'], null)
  assert.equal(read['metrics'], '# no gateway answers at http://127.0.0.1:2 (ECONNREFUSED)\n')
  const missing = await runCommand(['support-bundle', 'nothing.yaml'], { cwd: folder })
  assert.deepEqual([missing.code, missing.err], [2, 'nothing.yaml  cannot be read: there is no such file; `spillway init` writes one\n'])
})
