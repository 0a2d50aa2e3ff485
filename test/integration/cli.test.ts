/** The command line as a process: what it prints where, and its exit codes. Commands that start a gateway are in `cli-run.test.ts`. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Server, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test, type TestContext } from 'node:test'
import { INITIAL_CONFIG } from '../../src/cli/commands/init.ts'
import { loadText } from '../../src/config/load.ts'
import { type Outcome, runCommand, runInProcess } from '../support/run-command.ts'

let folder = ''

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-cli-'))
  writeFileSync(
    join(folder, 'spillway.yaml'),
    'pools: { api: [http://127.0.0.1:3001] }\nroutes:\n  - { match: POST /reports, mode: queue }\n  - { match: "POST /orders/{id}", mode: spill, key: path:id }\n  - { match: "/*" }\n',
  )
  writeFileSync(join(folder, 'bad.yaml'), 'pools: { api: [] }\nroutes: [{ match: /, pol: x }]\n')
})
after(() => rmSync(folder, { recursive: true }))

const spillway = (args: readonly string[], environment: Record<string, string> = {}): Promise<Outcome> =>
  runCommand(args, { cwd: folder, environment })

/** For what touches no files. */
async function inProcess(args: readonly string[]): Promise<Outcome> {
  const { code, out, err } = await runInProcess(args)
  return { code, out, err }
}

describe('wrong arguments: one line on standard error, a hint, exit code 2', () => {
  const cases: Readonly<Record<string, readonly [args: readonly string[], line: string]>> = {
    'an unknown command': [['chek'], 'spillway: there is no command "chek" (did you mean check?); see: spillway help'],
    'an unknown option': [['check', '--jsn'], 'spillway check: there is no option --jsn (did you mean --json?); see: spillway help check'],
    'an option without its value': [
      ['explain', 'GET', '/', '--host'],
      'spillway explain: --host needs a value; see: spillway help explain',
    ],
    'an option that is only a name of what every object has': [
      ['check', '--constructor'],
      'spillway check: there is no option --constructor; see: spillway help check',
    ],
    'a value for an option without': [['check', '--json=1'], 'spillway check: --json takes no value; see: spillway help check'],
    'one argument too many': [['run', 'a', 'b'], 'spillway run: "b" is one argument too many; see: spillway help run'],
    'one argument too few': [['explain', 'GET'], 'spillway explain: PATH is missing; see: spillway help explain'],
    'no path': [['explain', 'GET', 'x'], 'spillway explain: PATH begins with "/"; "x" does not'],
    'a method that is none': [['explain', 'G T', '/x'], 'spillway explain: METHOD is a word such as GET; "G T" is not'],
    'an empty method': [['explain', '', '/x'], 'spillway explain: METHOD is a word such as GET; "" is not'],
    'a path with a blank': [
      ['explain', 'GET', '/a b'],
      'spillway explain: PATH is visible ASCII without "#", as in a request line; "/a b" is not',
    ],
    'a path with a fragment': [
      ['explain', 'GET', '/a#b'],
      'spillway explain: PATH is visible ASCII without "#", as in a request line; "/a#b" is not',
    ],
    'a header with a name that is none': [
      ['explain', 'GET', '/', '--header', 'a b: c'],
      'spillway explain: --header wants \'NAME: VALUE\', not "a b: c"',
    ],
    'no header': [['explain', 'GET', '/', '--header', 'x'], 'spillway explain: --header wants \'NAME: VALUE\', not "x"'],
    'a queue without a server': [
      ['--queue', 'POST /x'],
      'spillway: --to is missing: which server shall it stand in front of?; see: spillway help --to',
    ],
    'a server that is none': [['--to', 'localhost'], 'spillway  --to  must be a URL such as http://127.0.0.1:3000, not "localhost"'],
    'a queue that is none': [
      ['--to', 'http://a', '--spill', 'reports'],
      'spillway  --spill  must be a path, or methods and a path, such as POST /reports, not "reports"',
    ],
    'a demo port that is none': [['demo', '--port', 'x'], 'spillway demo: --port must be a port, not "x"'],
    'an admin address that is no URL': [
      ['status', '--admin', 'notaurl'],
      'spillway status: --admin must be a URL such as http://127.0.0.1:9900, not "notaurl"',
    ],
    'an admin address without its scheme': [
      ['status', '--admin', 'localhost:9900'],
      'spillway status: --admin must be a URL such as http://127.0.0.1:9900, not "localhost:9900"',
    ],
    'an admin address with a query': [
      ['status', '--admin', 'http://a?b'],
      'spillway status: --admin must be a URL such as http://127.0.0.1:9900, not "http://a?b"',
    ],
    'an admin address with a password, which is not repeated': [
      ['status', '--admin', 'http://me:secret@a'],
      'spillway status: --admin takes no user and password; the token is read from SPILLWAY_ADMIN_TOKEN',
    ],
    'help for an unknown command': [['help', 'runn'], 'spillway: there is no command "runn" (did you mean run?); see: spillway help'],
  }
  for (const [name, [args, line]] of Object.entries(cases)) {
    test(name, async () => assert.deepEqual(await inProcess(args), { code: 2, out: '', err: `${line}\n` }))
  }
})

test('help, help of each command, and the version are printed with exit code 0', async () => {
  const overview = await inProcess([])
  assert.equal(overview.code, 0)
  for (const name of ['run', 'check', 'explain', 'demo', 'init', 'status']) {
    assert.match(overview.out, new RegExp(`^  ${name} `, 'm'))
    const [help, flag] = [await inProcess(['help', name]), await inProcess([name, '--help'])]
    assert.match(help.out, new RegExp(`^usage: spillway ${name}`))
    assert.deepEqual(help, flag)
  }
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8')) as {
    readonly version: string
  }
  assert.deepEqual(await spillway(['--version']), { code: 0, out: `${version}\n`, err: '' })
})

describe('check', () => {
  test('says what a good file holds', async () => {
    assert.deepEqual(await spillway(['check']), {
      code: 0,
      out: 'spillway.yaml: ok  3 routes (POST /reports, POST /orders/{id}, /*), 1 pool (api), 2 queues (reports, orders)\n',
      err: '',
    })
  })

  test('prints every error of a bad one; so does run', async () => {
    const err = 'bad.yaml:1:15  pools.api  must have at least one entry\nbad.yaml:2:22  routes[0].pol  unknown key  (did you mean pool?)\n'
    assert.deepEqual(await spillway(['check', 'bad.yaml']), { code: 2, out: '', err })
    assert.deepEqual(await spillway(['run', 'bad.yaml']), { code: 2, out: '', err })
  })

  test('as JSON', async () => {
    const { code, out } = await spillway(['check', 'bad.yaml', '--json'])
    assert.equal(code, 2)
    assert.deepEqual(JSON.parse(out), {
      ok: false,
      errors: ['bad.yaml:1:15  pools.api  must have at least one entry', 'bad.yaml:2:22  routes[0].pol  unknown key  (did you mean pool?)'],
      warnings: [],
    })
  })

  test('warnings do not fail', async () => {
    writeFileSync(
      join(folder, 'warn.yaml'),
      'store: { engine: memory }\npools: { api: [http://a] }\nroutes: [{ match: POST /, mode: queue }]\n',
    )
    const { code, err } = await spillway(['check', 'warn.yaml'])
    assert.equal(code, 0)
    assert.equal(
      err,
      'warn.yaml:1:18  store.engine  memory: jobs are lost when the process ends, and these routes keep jobs: POST /  (warning)\n',
    )
  })
})

test('explain tells what is done to the request', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-explain-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'actions.yaml')
  const headers =
    '{ request: { set: { X-Id: "{id}", Authorization: secret, X-From: "{client.address}" } }, response: { remove: [Server] } }'
  writeFileSync(
    file,
    `pools: { api: [http://127.0.0.1:3001] }
routes:
  - { match: "/api/{id}", rewrite: { strip: /api, prefix: /v2, host: inner }, headers: ${headers} }
  - { match: /old/*, redirect: { to: "https://{request.host}/new/{*}" } }
  - { match: /robots.txt, answer: { body: tea } }
`,
  )
  const told = async (path: string, ...more: string[]): Promise<string> =>
    (await inProcess(['explain', 'GET', path, '-f', file, ...more])).out
  assert.equal(
    (await told('/api/7?x')).split('\n\n')[0],
    `/api/{id}
  mode direct; pool api (127.0.0.1:3001)
  servers are asked for /v2/7?x
  servers get Host: inner
  servers get X-Id: 7
  servers get Authorization: ***
  servers get X-From: {client.address}
  clients get no server`,
  )
  assert.match(
    await told('/old/a/b', '--host', 'a.example'),
    /the gateway answers by itself\n {2}redirected with 308 to https:\/\/a\.example\/new\/a\/b\n/,
  )
  assert.match(await told('/robots.txt'), /answered with 200 and 3 bytes\n/)
  const json = JSON.parse(await told('/api/7', '--json')) as { readonly actions: unknown }
  assert.deepEqual(json.actions, {
    target: '/v2/7',
    host: 'inner',
    requestHeaders: { removed: [], added: ['X-Id: 7', 'Authorization: ***', 'X-From: {client.address}'] },
    responseHeaders: { removed: ['server'], added: [] },
  })
})

describe('explain', () => {
  test('tells the route, what it means, and why no other', async () => {
    const { code, out } = await spillway(['explain', 'post', '/orders/7?x=1', '--host', 'API.example'])
    assert.equal(code, 0)
    assert.equal(
      out,
      `POST /orders/{id}
  mode spill; pool api (127.0.0.1:3001); queue orders; held up to 25 s, then accept; key path:id

the other routes, in order of precedence:
  POST /reports  path /orders/7 is not /reports
  /*             matches, but POST /orders/{id} goes first
`,
    )
  })

  test('a path that is refused, one that is reserved, and one without a route', async () => {
    writeFileSync(join(folder, 'one.yaml'), 'pools: { api: [http://a] }\nroutes: [{ match: GET /a }]\n')
    const refused = await spillway(['explain', 'GET', '/a/../b'])
    assert.deepEqual(refused, { code: 1, out: '400: the path has a "." or ".." segment; no route is asked\n', err: '' })
    const reserved = await spillway(['explain', 'GET', '/_spillway/jobs/x'])
    assert.deepEqual(reserved, { code: 0, out: '/_spillway is where job URLs live; no route is asked\n', err: '' })
    const none = await spillway(['explain', 'POST', '/a', '-f', 'one.yaml', '--json'])
    assert.equal(none.code, 1)
    assert.deepEqual(JSON.parse(none.out), {
      route: null,
      verdicts: [{ route: 'GET /a', outcome: 'no', reason: 'method POST is not GET' }],
    })
  })
})

describe('init', () => {
  test('writes a file that checks, and never overwrites', async () => {
    const first = await spillway(['init', 'new.yaml'])
    assert.deepEqual(first, { code: 0, out: 'wrote new.yaml; edit it, then: spillway run new.yaml\n', err: '' })
    assert.equal((await spillway(['check', 'new.yaml'])).code, 0)
    const second = await spillway(['init', 'new.yaml'])
    assert.deepEqual(second, { code: 1, out: '', err: 'spillway init: new.yaml is there already; nothing was written\n' })
  })

  test('what stands there as a comment is right too', () => {
    const uncommented = INITIAL_CONFIG.replace('  app: [http://127.0.0.1:3000]\n', '')
      .replaceAll(/^( *)# (?=app:|servers:|maxInFlight|health:|- \{|queues:| {2}\w)/gm, '$1')
      .replace('  # With settings:\n', '')
    const result = loadText(uncommented.replaceAll('  #   ', '    '), { file: 'x', folder: '/' }, {})
    assert.ok(result.ok, JSON.stringify(result))
    assert.equal(result.config.routes.length, 5)
    assert.equal(result.config.queues.length, 2)
  })
})

describe('status', () => {
  let server: Server
  const asked: (string | undefined)[] = []
  before(async () => {
    const status = {
      version: '1.2.3',
      pid: 7,
      uptimeMs: 5000,
      ready: { ok: true, reason: 'ready' },
      listeners: ['127.0.0.1:8080'],
      pools: [
        {
          name: 'api',
          balance: 'least-requests',
          waiting: 2,
          servers: [
            { name: '127.0.0.1:3001', weight: 1, state: 'up', inFlight: 3, tunnels: 1 },
            { name: '127.0.0.1:30020', weight: 1, state: 'down', reason: 'connection refused', inFlight: 0, tunnels: 0 },
          ],
        },
      ],
      queues: [
        {
          name: 'reports',
          pool: 'api',
          jobs: { queued: 4, running: 0 },
          bytes: 1,
          finishedBytes: 1,
          oldestWaitingMs: 90_000,
          dead: { poison: 1 },
          buckets: {},
        },
      ],
      routes: [],
    }
    server = createServer((request, response) => {
      asked.push(request.headers.authorization)
      const isAllowed = request.url === '/status' && request.headers.authorization === 'Bearer secret'
      response.writeHead(isAllowed ? 200 : 401).end(JSON.stringify(status))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  })
  after(() => server.close())

  test('asks with the token and prints one line per server and queue', async () => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const { code, out } = await spillway(['status', '--admin', url], { SPILLWAY_ADMIN_TOKEN: 'secret' })
    assert.equal(code, 0)
    assert.equal(
      out,
      `spillway 1.2.3  pid 7  up 5 s  ready  127.0.0.1:8080

pool api  least-requests  2 waiting
  127.0.0.1:3001   up        3 in flight, 1 tunnels
  127.0.0.1:30020  down      0 in flight  connection refused

queue reports -> api  4 queued  oldest waits 2 min  dead: 1 poison

needs a look:
  queue reports: dead letters: 1 poison
    -> spillway jobs list reports --dead, then spillway why <job>
`,
    )
    const json = await spillway(['status', '--admin', url, '--json'], { SPILLWAY_ADMIN_TOKEN: 'secret' })
    assert.equal((JSON.parse(json.out) as { readonly pid: number }).pid, 7)
    const refused = await spillway(['status', '--admin', url])
    assert.deepEqual(refused, {
      code: 1,
      out: '',
      err: `spillway status: ${url} answered 401; it wants its admin token, see SPILLWAY_ADMIN_TOKEN\n`,
    })
  })

  test('a gateway that is not there is one line and exit code 1', async () => {
    server.close()
    const url = 'http://127.0.0.1:9'
    const { code, err } = await spillway(['status', '--admin', url])
    assert.deepEqual([code, err.split('\n').length], [1, 2])
    assert.match(err, /^spillway status: no gateway answers at http:\/\/127\.0\.0\.1:9 \(/)
  })

  /** The address of something that is no gateway. */
  async function startOther(t: TestContext, answer: (response: ServerResponse) => unknown): Promise<string> {
    const other = createServer((_, response) => void answer(response))
    t.after(() => {
      other.close()
      other.closeAllConnections()
    })
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(other.address() as AddressInfo).port}`
  }

  test('whatever else answers there is one line and exit code 1', async (t) => {
    const no = (url: string): string => `spillway status: what answers at ${url} is not the admin address of a gateway\n`
    const silent = (url: string): string => `spillway status: no gateway answers at ${url} (no whole answer within 5000 ms)\n`
    const outline = { version: '1', pid: 1, uptimeMs: 1, ready: {}, listeners: [], pools: [{}], queues: [] }
    const cases: readonly (readonly [answer: (response: ServerResponse) => unknown, line: (url: string) => string])[] = [
      [(response) => response.end('<html>hello</html>'), no],
      [(response) => response.end(''), no],
      [(response) => response.end('{}'), no],
      [(response) => response.end('null'), no],
      [(response) => response.end(JSON.stringify({ ...outline, uptimeMs: '1' })), no],
      [(response) => response.end(JSON.stringify(outline)), no],
      [(response) => response.writeHead(500).end('<html>'), (url) => `spillway status: ${url} answered 500\n`],
      [(response) => response.write('{'), silent],
    ]
    const asked = cases.flatMap(([answer, line]) => [[], ['--json']].map((flags) => ({ answer, line, flags })))
    await Promise.all(
      asked.map(async ({ answer, line, flags }) => {
        const url = await startOther(t, answer)
        assert.deepEqual(await inProcess(['status', '--admin', url, ...flags]), { code: 1, out: '', err: line(url) })
      }),
    )
  })

  test('an answer that breaks off is one line and exit code 1', async (t) => {
    const url = await startOther(t, (response) => response.write('{', () => response.destroy()))
    const { code, out, err } = await inProcess(['status', '--admin', url])
    assert.deepEqual([code, out, err.split('\n').length], [1, '', 2])
    assert.ok(err.startsWith(`spillway status: no gateway answers at ${url} (`), err)
  })
})
