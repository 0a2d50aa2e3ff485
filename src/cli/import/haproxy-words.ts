/** What statements of HAProxy mean that need no look at anything else. */
import type { Millis } from '../../lib/units.ts'
import type { Statement } from './haproxy-parse.ts'

const PROCESS = 'about the process or its sockets; nothing like it is needed'
const LOGS = 'see log in the configuration'
const KEPT = 'connections are kept here in any case'
const TABLES = 'there are no tables of clients here; see balance: { hash: address }, and sticky'
const ERRORS = 'errors of the gateway are problems here (docs/reference/errors.md)'

/** By the first word, or the first two. */
const NEEDLESS: Readonly<Record<string, string>> = {
  ...same(
    PROCESS,
    'chroot,user,group,uid,gid,daemon,nbthread,nbproc,cpu-map,stats socket,stats timeout,stats maxconn,pidfile,node,description,ulimit-n,maxpipes,spread-checks,server-state-base,server-state-file,load-server-state-from-file,master-worker,localpeer,ssl-default-bind-curves,tune.ssl.default-dh-param,tune.bufsize,tune.maxrewrite,ssl-dh-param-file,option tcp-smart-accept,option tcp-smart-connect,option tcpka,option clitcpka,option srvtcpka,option splice-auto,option nolinger,option contstats,option socket-stats,presetenv,setenv,timeout client-fin,timeout server-fin,timeout tarpit,numa-cpu-mapping,hard-stop-after,backlog,issuers-chain-path,busy-polling,maxconnrate,maxsslconn,maxsslrate,zero-warning,expose-experimental-directives',
  ),
  ...same(
    LOGS,
    'log,log-format,log-tag,log-send-hostname,option httplog,option httpslog,option tcplog,option dontlognull,option dontlog-normal,option log-health-checks,option log-separate-errors,option logasap,capture,unique-id-format,no log,log-format-sd,error-log-format,http-request capture,http-response capture,http-request set-log-level,declare capture',
  ),
  ...same(
    KEPT,
    'option http-server-close,option http-keep-alive,option httpclose,option forceclose,http-reuse,option prefer-last-server,option http-pretend-keepalive,option http-no-delay',
  ),
  ...same(
    'said of what listens and what is asked, where it is',
    'ssl-default-bind-options,ssl-default-bind-ciphers,ssl-default-bind-ciphersuites,ssl-server-verify,ca-base,crt-base',
  ),
  ...same(
    'it is about connections',
    'http-request set-nice,http-request set-tos,http-request set-mark,http-request strict-mode,http-request wait-for-handshake,http-response set-nice,http-response set-tos,http-response set-mark,http-response strict-mode,http-response set-log-level,tcp-request inspect-delay',
  ),
  'http-request disable-l7-retry': 'it is a part of retry',
  'option forwardfor': 'X-Forwarded-For is sent in any case',
  'option redispatch': 'another server is tried in any case',
  'option allbackups': 'all servers in reserve take part in any case',
  'option abortonclose': 'who leaves, leaves the line in any case',
  'option http-buffer-request': 'bodies are streamed here',
  'option tcp-check': 'a connection is the check where nothing else is said',
  'hash-type': 'hashing is consistent here in any case',
  mode: 'http is all there is',
  acl: 'it is a part of what uses it',
}

const LEFT: Readonly<Record<string, string>> = {
  ...same(
    TABLES,
    'stick-table,stick,http-request track-sc0,http-request track-sc1,http-request track-sc2,tcp-request,http-response sc-inc-gpc0',
  ),
  ...same(ERRORS, 'errorfile,errorloc,errorloc302,errorloc303,errorfiles,http-error'),
  ...same(
    'only fields of all answers are set, added and removed here, with what is known of the request (headers.response)',
    'http-response,http-after-response,rspadd,rspdel,rspirep,rsprep,rspidel',
  ),
  ...same(
    'fields are set, added and removed here, not edited',
    'http-request replace-header,http-request replace-value,http-response replace-header,http-response replace-value',
  ),
  ...same('answers are not compressed here; let the servers do it', 'compression'),
  ...same('answers are not cached here', 'http-request cache-use,http-response cache-store'),
  ...same('the admin address has status and metrics', 'stats,http-request use-service'),
  ...same('the gateway has no parts of your own', 'lua-load,lua-load-per-thread,filter,external-check,option external-check'),
  ...same(
    'there are no variables of your own here',
    'http-request set-var,http-request set-var-fmt,http-request unset-var,http-response set-var',
  ),
  ...same('sessions are bound by a cookie of our own here, or by one that is learnt; see sticky', 'cookie,appsession,dynamic-cookie-key'),
  ...same(
    'checks are a connection or a request over HTTP here',
    'tcp-check,option ssl-hello-chk,option mysql-check,option pgsql-check,option redis-check,option smtpchk,option ldap-check,option spop-check,email-alert',
  ),
  ...same(
    'the path is rewritten here, at its beginning or as a whole: see rewrite',
    'http-request set-path,http-request replace-path,http-request set-uri,http-request replace-uri,http-request set-query,http-request set-pathq,http-request replace-pathq,reqrep,reqirep',
  ),
  ...same('how long it may take is said of a route here: firstByte, timeout', 'http-request set-timeout'),
  ...same('how urgent a request is, is said of a route here: priority', 'http-request set-priority-class,http-request set-priority-offset'),
  ...same('who a client is, is not asked here', 'http-request auth'),
  ...same(
    'connections are not broken off by a rule here',
    'http-request reject,http-request silent-drop,http-request tarpit,tcp-request connection reject',
  ),
  ...same(
    'such an answer is not given here',
    'http-request deny,http-request return,http-request redirect,redirect,monitor-uri,http-response deny,http-response return',
  ),
  ...same('a server is not chosen by a rule here; a route has a pool', 'use-server,force-persist,ignore-persist'),
  ...same('which of the clients are healthy to ask is not looked at here', 'monitor'),
  ...same('how many connections may come in a second is not limited here; see guard', 'rate-limit,maxsessrate'),
  'http-request': 'only fields are set, added and removed here, with what is known of the request (headers.request)',
  'unique-id-header': 'see requestId',
  'option originalto': 'the address that was asked is not passed on here',
  fullconn: 'see adaptive',
  'hash-balance-factor': 'see over of balance',
}

function same(reason: string, names: string): Record<string, string> {
  return Object.fromEntries(names.split(',').map((name) => [name, reason]))
}

function found(table: Readonly<Record<string, string>>, { words }: Statement): string | undefined {
  const [first = '', second = '', third = ''] = words
  const key = [`${first} ${second} ${third}`, `${first} ${second.replace(/\(.*$/, '')}`, first].find((each) => Object.hasOwn(table, each))
  return key === undefined ? undefined : table[key]
}

export function needlessReason(line: Statement): string | undefined {
  const [first, second, name = '', value = ''] = line.words
  if (first === 'http-request' && second === 'set-header') {
    if (/^x-forwarded-proto$/i.test(name) && (/^https?$/.test(value) || value === '%[ssl_fc,iif(https,http)]')) return 'is sent in any case'
    if (/^x-forwarded-host$/i.test(name) && /^%\[(req\.)?hdr\(host\)\]$/i.test(value)) return 'is sent in any case'
    if (/^x-forwarded-for$/i.test(name) && /^%(\[src\]|ci)$/.test(value))
      return 'is sent in any case; what clients say of it counts only from trustedPeers'
  }
  return found(NEEDLESS, line)
}

export function leftReason(line: Statement): string {
  return found(LEFT, line) ?? 'this import does not know it'
}

/** Rules that are tried in their order: see `haproxy-rules.ts`. */
export function isOfRules({ words }: Statement): boolean {
  return /^(acl|http-request|http-response|http-after-response|tcp-request|redirect|block|use_backend|default_backend|monitor-uri|use-server|force-persist|ignore-persist|req[a-z]+)$/.test(
    words[0] ?? '',
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
