/** What directives of nginx mean that need no look at anything else: which are needless, which are left and why, and which close something. */
import { isIP } from 'node:net'
import { parsePattern } from '../../core/routing/pattern.ts'
import type { Millis } from '../../lib/units.ts'
import type { Directive } from './nginx-parse.ts'

const PROCESS = 'about the process or its sockets; nothing like it is needed'
const STREAMS = 'bodies are streamed here, with bounded buffers'
const LOGS = 'see log in the configuration'

/** By name. A function says for which arguments. */
const NEEDLESS: Readonly<Record<string, string | ((args: readonly string[]) => string | undefined)>> = {
  ...same(
    PROCESS,
    'worker_processes worker_rlimit_nofile worker_connections worker_cpu_affinity worker_shutdown_timeout events user pid daemon master_process pcre_jit thread_pool timer_resolution multi_accept use accept_mutex sendfile sendfile_max_chunk tcp_nopush tcp_nodelay types_hash_max_size types_hash_bucket_size server_names_hash_max_size server_names_hash_bucket_size variables_hash_max_size variables_hash_bucket_size map_hash_max_size map_hash_bucket_size proxy_headers_hash_max_size proxy_headers_hash_bucket_size server_tokens reset_timedout_connection open_file_cache open_file_cache_valid aio directio',
  ),
  ...same(LOGS, 'access_log error_log log_format log_not_found log_subrequest rewrite_log'),
  ...same(
    STREAMS,
    'proxy_buffering proxy_request_buffering proxy_buffers proxy_buffer_size proxy_busy_buffers_size proxy_max_temp_file_size proxy_temp_path proxy_temp_file_write_size client_body_buffer_size client_body_temp_path client_header_buffer_size fastcgi_temp_path uwsgi_temp_path scgi_temp_path',
  ),
  ...same('answers pass as they come', 'types default_type charset'),
  ...same('connections to servers are kept here in any case', 'keepalive keepalive_requests keepalive_time proxy_socket_keepalive'),
  ...same('fields of servers pass as they come in any case', 'proxy_pass_header'),
  ...same('trusted peers are passed over in any case, however many follow each other', 'real_ip_recursive'),
  ...same('chains are verified, however long they are', 'ssl_verify_depth proxy_ssl_verify_depth'),
  ...same('sessions are resumed in any case', 'proxy_ssl_session_reuse'),
  ...same('what servers are doing is known to the whole gateway in any case', 'zone'),
  ...same(
    'Node.js chooses it, and sessions are resumed with tickets',
    'ssl_session_cache ssl_prefer_server_ciphers ssl_dhparam ssl_ecdh_curve ssl_early_data',
  ),
  proxy_http_version: ([version]) => (version === '1.1' ? 'that is spoken here in any case' : undefined),
  proxy_redirect: ([to]) => (to === 'off' ? 'Location passes as it comes' : undefined),
  proxy_cache: ([zone]) => (zone === 'off' ? 'nothing is cached here' : undefined),
  allow: ([who]) => (who === 'all' ? 'nobody is kept out' : undefined),
  expires: ([time]) => (time === 'off' ? 'fields of servers pass as they come' : undefined),
  mirror: ([uri]) => (uri === 'off' ? 'nothing is copied' : undefined),
  ssl_verify_client: ([mode]) => (mode === 'off' ? 'nobody is asked for a certificate' : undefined),
  gzip: ([on]) => (on === 'off' ? 'nothing is compressed here' : undefined),
  ssl: ([on]) => (on === 'off' ? 'there is none' : undefined),
  auth_basic: ([realm]) => (realm === 'off' ? 'there is none' : undefined),
  auth_request: ([uri]) => (uri === 'off' ? 'there is none' : undefined),
  map: (args) => (args[0] === '$http_upgrade' ? 'tunnels are passed on here in any case' : undefined),
}

const LEFT: Readonly<Record<string, string>> = {
  ...same(
    'fields of answers are set, added and removed here (headers.response), not edited',
    'proxy_cookie_domain proxy_cookie_path proxy_cookie_flags',
  ),
  ...same('Location passes as servers send it', 'proxy_redirect'),
  ...same('there are no trailers of our own', 'add_trailer'),
  ...same('no time from now on can be written into a field; for Cache-Control see headers.response', 'expires'),
  ...same('bodies of answers pass as they come', 'sub_filter sub_filter_once sub_filter_types sub_filter_last_modified addition_types'),
  ...same(
    'answers of servers pass as they come, and errors of the gateway are problems (docs/reference/errors.md)',
    'proxy_intercept_errors error_page recursive_error_pages',
  ),
  ...same(
    'method, fields and body of a request pass as they come; see headers.request',
    'proxy_set_body proxy_pass_request_headers proxy_pass_request_body proxy_method',
  ),
  ...same(
    'answers are not compressed here; let the servers do it',
    'gzip gzip_types gzip_proxied gzip_vary gzip_comp_level gzip_min_length gzip_buffers gzip_disable gzip_static gzip_http_version brotli brotli_types gunzip',
  ),
  ...same(
    'answers are not cached here',
    'proxy_cache proxy_cache_path proxy_cache_key proxy_cache_valid proxy_cache_use_stale proxy_cache_bypass proxy_no_cache proxy_cache_lock proxy_ignore_headers proxy_store',
  ),
  ...same(
    'rates of clients are not limited here; see maxInFlight and limits.perClient',
    'limit_req limit_req_zone limit_req_status limit_conn limit_conn_zone limit_conn_status limit_rate limit_rate_after proxy_limit_rate',
  ),
  ...same('files are not served here', 'root alias index try_files autoindex'),
  ...same(
    'only servers that speak HTTP can be asked',
    'fastcgi_pass uwsgi_pass scgi_pass grpc_pass memcached_pass fastcgi_param fastcgi_index uwsgi_param stream mail',
  ),
  ...same('there are no variables of your own here', 'set map geo'),
  ...same('HTTP/2 and HTTP/3 are not spoken here: clients speak HTTP/1.1', 'http2 http3 quic_retry'),
  ...same('names are looked up with the resolver of the system', 'resolver resolver_timeout'),
  ...same(
    'it is about TLS, and nothing listens with it',
    'ssl_certificate ssl_certificate_key ssl_client_certificate ssl_crl ssl_ciphers ssl_protocols ssl_session_tickets ssl_session_timeout ssl_reject_handshake',
  ),
  ...same('keys of certificates are not encrypted here', 'ssl_password_file proxy_ssl_password_file'),
  ...same('revocation lists are not read here', 'proxy_ssl_crl'),
  ...same('Node.js chooses how servers are spoken to: with TLS 1.2 or 1.3', 'proxy_ssl_ciphers proxy_ssl_protocols proxy_ssl_conf_command'),
  ...same('authorities of clients stand in one file here: clientAuth.ca', 'ssl_trusted_certificate'),
  ...same('OCSP responses are not stapled here', 'ssl_stapling ssl_stapling_verify ssl_stapling_file ssl_stapling_responder ssl_ocsp'),
  ...same('Node.js chooses it', 'ssl_conf_command ssl_buffer_size'),
  ...same('pauses of clients and servers are bounded by timeouts.stall and timeouts.body here', 'send_timeout proxy_send_timeout'),
  ...same('checks are written by hand: health of the pool', 'health_check match'),
  load_module: 'what the module does is not known',
}

/** Without them something would be open that was not, or be sent on otherwise than it was. */
const CLOSING: Readonly<Record<string, string>> = {
  ...same(
    'access is not controlled here',
    'allow deny satisfy auth_basic auth_request auth_jwt auth_delay secure_link secure_link_secret valid_referers',
  ),
  ...same('of clients with certificates only that of a whole listener is translated, where all servers ask alike', 'ssl_verify_client'),
  ...same('only a return is translated, on a method, a field, a parameter of the query or a host', 'if'),
  ...same('only deny all is translated, with methods', 'limit_except'),
  ...same('only rewrites of the beginning of a path are translated: break in a location, redirect, permanent', 'rewrite'),
  ...same('such an answer is not given here', 'return'),
}

function same(reason: string, names: string): Record<string, string> {
  return Object.fromEntries(names.split(' ').map((name) => [name, reason]))
}

/** Why a field that is set needs not be set here. */
export function needlessHeader([name = '', value = '']: readonly string[]): string | undefined {
  const field = name.toLowerCase()
  if (field === 'host' && isClientsHost(value)) return 'servers get the Host of the client in any case'
  if (field === 'x-forwarded-for' && (value === '$proxy_add_x_forwarded_for' || value === '$remote_addr'))
    return 'is sent in any case; what clients say of it counts only from trustedPeers'
  if (field === 'x-forwarded-proto' && value === '$scheme') return 'is sent in any case'
  if (field === 'x-forwarded-host' && isClientsHost(value)) return 'is sent in any case'
  if (field === 'upgrade' || (field === 'connection' && /^(upgrade|\$connection_upgrade|\$http_connection|keep-alive|)$/i.test(value)))
    return 'connections and tunnels are taken care of here'
  return undefined
}

export function isClientsHost(value: string): boolean {
  return value === '$host' || value === '$http_host' || value === '$host:$server_port'
}

export function needlessReason({ name, args }: Directive): string | undefined {
  const reason = Object.hasOwn(NEEDLESS, name) ? NEEDLESS[name] : undefined
  return typeof reason === 'function' ? reason(args) : reason
}

/** `closing`: routes to which it applies cannot be written as if it were not there. */
export function leftReason(directive: Directive): { readonly reason: string; readonly closing: boolean } {
  const { name } = directive
  if (isClosing(directive)) return { reason: CLOSING[name] as string, closing: true }
  return { reason: (Object.hasOwn(LEFT, name) ? LEFT[name] : undefined) ?? 'this import does not know it', closing: false }
}

export function isClosing(directive: Directive): boolean {
  return Object.hasOwn(CLOSING, directive.name) && needlessReason(directive) === undefined
}

/** `60`, `60s`, `1m 30s`, `500ms`; 0 and what cannot be read: undefined. */
export function nginxTime(text: string): Millis | undefined {
  const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000, '': 1000 }
  if (!/^(\d{1,9}(ms|[smhdw])?\s*)+$/.test(text)) return undefined
  let sum = 0
  for (const [, count, unit = ''] of text.matchAll(/(\d+)(ms|[smhdw])?/g)) sum += Number(count) * (units[unit] as number)
  return sum > 0 ? sum : undefined
}

/** `1m`, `8k`, `100`; 0 means no limit. */
export function nginxSize(text: string): number | undefined {
  const found = /^(\d{1,12})([kmg]?)$/i.exec(text)
  if (found === null) return undefined
  const unit = { '': 1, k: 1 << 10, m: 1 << 20, g: 1 << 30 }[(found[2] as string).toLowerCase()] as number
  return Number(found[1]) * unit
}

export function isNetwork(text: string): boolean {
  const [address = '', bits] = text.split('/')
  const version = isIP(address)
  return version !== 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128)))
}

/** Paths that a prefix of nginx stands for, and what is not quite the same; undefined: it cannot be written. */
export function pathsOf(
  path: string,
  isExact: boolean,
): { readonly paths: readonly string[]; readonly differs: string | undefined } | undefined {
  const isPlain = (text: string): boolean => {
    const pattern = parsePattern(text)
    return typeof pattern !== 'string' && pattern.segments.every(({ kind }) => kind === 'literal')
  }
  const open = path.endsWith('/') ? `${path}*` : `${path}/*`
  if (!isPlain(path) || !isPlain(open) || path.endsWith('*')) return undefined
  if (isExact) return { paths: [path], differs: undefined }
  if (path.endsWith('/')) return { paths: [open], differs: undefined }
  return { paths: [path, open], differs: `a prefix ends at a slash here: ${path}x is not matched` }
}
