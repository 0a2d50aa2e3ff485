/** Configurations as people write them, and requests that must be answered as by the program that they were written for. */

export interface ImportRequest {
  readonly method?: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export interface ImportCase {
  readonly file: string
  readonly requests: readonly ImportRequest[]
  /** How often each is sent; default: once. */
  readonly times?: number
  /** First words of the lines that are not translated. */
  readonly left: readonly string[]
  /** Requests that are refused rather than sent elsewhere. */
  readonly refused: readonly ImportRequest[]
}

const at = (host: string, path: string): ImportRequest => ({ path, headers: { host } })
const get = (path: string): ImportRequest => ({ path })
const post = (path: string): ImportRequest => ({ method: 'POST', path, body: 'x=1' })

export const IMPORT_CASES: readonly ImportCase[] = [
  {
    file: 'spa-and-api.conf',
    requests: [get('/api/'), get('/api/orders/7?x=1&y=%2F'), get('/api/v1/me'), get('/healthz'), post('/api/orders'), get('/api/a%20b')],
    left: ['gzip', 'root', 'try_files'],
    refused: [get('/'), get('/index.html')],
  },
  {
    file: 'microservices.conf',
    requests: [
      get('/users/1'),
      get('/orders/1'),
      get('/orders/archive/1'),
      get('/orders/'),
      get('/v2/users/3?full=1'),
      post('/orders/new'),
    ],
    left: [],
    refused: [],
  },
  {
    file: 'hosts.conf',
    requests: [
      ...[at('shop.example', '/'), at('www.shop.example', '/a'), at('shop.example', '/old-cart'), at('x.tenant.example', '/y')],
      ...[at('a.b.tenant.example', '/'), at('elsewhere.example', '/z'), at('gone.example', '/p?q=1')],
    ],
    left: ['location'],
    refused: [],
  },
  {
    file: 'websocket-app.conf',
    requests: [
      get('/'),
      get('/socket/x'),
      { method: 'POST', path: '/upload', body: 'x'.repeat(1024) },
      { method: 'POST', path: '/upload', body: 'x'.repeat(1025) },
    ],
    left: [],
    refused: [],
  },
  { file: 'balanced.conf', times: 12, requests: [get('/'), get('/a'), post('/b')], left: [], refused: [] },
  {
    file: 'api-gateway.conf',
    requests: [...[get('/v1/a'), { path: '/v2/b', headers: { cookie: 'a=b' } }, get('/v2/internal/x'), get('/docs')]],
    left: ['limit_req_zone', 'limit_req', 'allow', 'deny', 'location'],
    refused: [get('/admin/x')],
  },
  {
    file: 'conditions.conf',
    requests: [
      ...[
        get('/old/v1/x?y=1'),
        get('/old/v2'),
        get('/old/v1/x?debug=1'),
        get('/moved/a?b=c'),
        get('/moved/here/a'),
        get('/read/x'),
        post('/read/x'),
      ],
      ...[
        { path: '/old/', headers: { 'user-agent': 'a BadBot 1' } },
        { path: '/old/', headers: { 'user-agent': 'badbot' } },
        get('/copies'),
      ],
    ],
    left: [],
    refused: [],
  },
  {
    file: 'rules.cfg',
    requests: [
      ...[
        { method: 'HEAD', path: '/up' },
        get('/open'),
        get('/fine'),
        post('/fine'),
        get('/away/x?y=1'),
        get('/api/x?y=1'),
        get('/api/private/x'),
        post('/api/'),
      ],
      ...[
        { method: 'DELETE', path: '/open' },
        { method: 'DELETE', path: '/x' },
        { method: 'DELETE', path: '/api/x' },
      ],
      ...[
        { path: '/', headers: { 'x-kind': 'internal' } },
        { path: '/api/x', headers: { 'x-kind': 'internal', 'x-debug': '1' } },
      ],
      { path: '/api/x', headers: { 'x-kind': 'legacy-1' } },
    ],
    left: [],
    refused: [],
  },
  { file: 'balanced.cfg', times: 12, requests: [get('/'), get('/a'), post('/b')], left: [], refused: [] },
  {
    file: 'services.cfg',
    requests: [
      ...[get('/static/a.js'), get('/assets/b'), at('admin.example', '/'), at('admin.example', '/static/c'), at('admin.example', '/api/x')],
      ...[post('/api/x'), get('/api/x'), get('/'), post('/')],
    ],
    left: [],
    refused: [],
  },
  {
    file: 'closed.cfg',
    requests: [
      get('/'),
      get('/internal/x'),
      at('a.tenant.example', '/internal/x'),
      at('a.tenant.example', '/'),
      get('/slow'),
      get('/start'),
    ],
    left: [],
    refused: [],
  },
  {
    file: 'blue-green.cfg',
    requests: [get('/'), { path: '/', headers: { 'x-color': 'green' } }, { path: '/', headers: { 'x-color': 'red' } }],
    left: [],
    refused: [],
  },
]
