/** What statements of HAProxy mean that need no look at anything else. */
import type { Millis } from '../../lib/units.ts'
import type { Statement } from './haproxy-parse.ts'

const PROCESS = 'about the process or its sockets; nothing like it is needed'
const LOGS = 'see log in the configuration'
const KEPT = 'connections are kept here in any case'

/** By the first word, or the first two. */
const NEEDLESS: Readonly<Record<string, string>> = {
  ...same(
    PROCESS,
    'chroot,user,group,daemon,nbthread,nbproc,cpu-map,stats socket,stats timeout,pidfile,node,description,ulimit-n,maxpipes,spread-checks,server-state-base,server-state-file,load-server-state-from-file,master-worker,localpeer,ca-base,crt-base,ssl-default-bind-ciphers,ssl-default-bind-ciphersuites,ssl-default-bind-options,ssl-default-server-ciphers,ssl-default-server-ciphersuites,ssl-default-server-options,tune.ssl.default-dh-param,tune.bufsize,tune.maxrewrite,ssl-dh-param-file,option tcp-smart-accept,option tcp-smart-connect,option tcpka,option clitcpka,option srvtcpka,option splice-auto,option nolinger,option contstats,option socket-stats,presetenv,setenv,timeout client-fin,timeout server-fin,timeout tarpit,numa-cpu-mapping,hard-stop-after,backlog',
  ),
  ...same(
    LOGS,
    'log,log-format,log-tag,log-send-hostname,option httplog,option tcplog,option dontlognull,option dontlog-normal,option log-health-checks,option log-separate-errors,option logasap,capture,unique-id-format,unique-id-header,no log,log-format-sd,error-log-format',
  ),
  ...same(
    KEPT,
    'option http-server-close,option http-keep-alive,option httpclose,option forceclose,http-reuse,option prefer-last-server,option http-pretend-keepalive,option http-no-delay',
  ),
  'option forwardfor': 'X-Forwarded-For is sent in any case',
  'option redispatch': 'another server is tried in any case',
  'option abortonclose': 'who leaves, leaves the line in any case',
  'option http-buffer-request': 'bodies are streamed here',
  'hash-type': 'hashing is consistent here in any case',
  mode: 'http is all there is',
  acl: 'it is a part of what uses it',
}

const LEFT: Readonly<Record<string, string>> = {
  ...same('there are no tables of clients here', 'stick-table,stick,stick on,stick match,stick store-request'),
  ...same(
    'answers are not changed here',
    'http-response,rspadd,rspdel,rspirep,rsprep,errorfile,errorloc,errorloc302,errorloc303,errorfiles,http-error,http-after-response',
  ),
  ...same('answers are not compressed here; let the servers do it', 'compression'),
  ...same('the admin address has status and metrics', 'stats'),
  ...same('a client is not bound to a server by a cookie here', 'cookie,appsession,dynamic-cookie-key'),
  ...same('nothing runs in the gateway', 'lua-load,filter,external-check,option external-check'),
  ...same('how often and when requests are repeated is the matter of pools.*.retries here', 'retries,retry-on'),
  'http-request': 'no field of a request is set here but Via, Forwarded and X-Forwarded-For, -Proto and -Host',
  'server-template': 'servers are named one by one here; a host name stands for all its addresses',
  fullconn: 'see adaptive',
}

function same(reason: string, names: string): Record<string, string> {
  return Object.fromEntries(names.split(',').map((name) => [name, reason]))
}

function found(table: Readonly<Record<string, string>>, { words }: Statement): string | undefined {
  const [first = '', second = ''] = words
  const key = [`${first} ${second}`, first].find((each) => Object.hasOwn(table, each))
  return key === undefined ? undefined : table[key]
}

export function needlessReason(line: Statement): string | undefined {
  const [first, second, name = '', value = ''] = line.words
  if (first === 'http-request' && second === 'set-header') {
    if (/^x-forwarded-proto$/i.test(name) && (/^https?$/.test(value) || value === '%[ssl_fc,iif(https,http)]')) return 'is sent in any case'
    if (/^x-forwarded-host$/i.test(name) && /^%\[(req\.)?hdr\(host\)\]$/i.test(value)) return 'is sent in any case'
  }
  return found(NEEDLESS, line)
}

export function leftReason(line: Statement): string {
  return found(LEFT, line) ?? 'this import does not know it'
}

const CLOSING_ACTIONS = new Set(
  'deny tarpit reject auth redirect return silent-drop set-path replace-path set-uri replace-uri set-query set-pathq replace-pathq set-method set-dst set-dst-port normalize-uri wait-for-body use-service set-src'.split(
    ' ',
  ),
)

/** Its requests would not go where they are sent as if it were not there. */
export function closes({ words }: Statement): boolean {
  const [first = '', second = '', third = ''] = words
  if (first === 'http-request') return CLOSING_ACTIONS.has(second.replace(/\(.*$/, ''))
  if (first === 'tcp-request')
    return (second === 'connection' || second === 'content' || second === 'session') && /^(reject|silent-drop)/.test(third)
  return /^(redirect|block|reqdeny|reqideny|reqrep|reqirep|reqtarpit|reqitarpit|use-server|monitor-uri|force-persist|ignore-persist)$/.test(
    first,
  )
}

/** `5000` (milliseconds), `5s`, `1m`. */
export function haproxyTime(text: string): Millis | undefined {
  const match = /^(\d{1,12})(us|ms|s|m|h|d)?$/.exec(text)
  if (match === null) return undefined
  const unit = { us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[match[2] ?? 'ms'] as number
  const ms = Math.round(Number(match[1]) * unit)
  return ms > 0 ? ms : undefined
}
