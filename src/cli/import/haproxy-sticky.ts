/** `cookie` of HAProxy's backends, as `sticky` of a pool. */
import { type Draft, type DraftPool, durationText, setIn } from './draft.ts'
import type { Statement } from './haproxy-parse.ts'
import { haproxyTime } from './haproxy-words.ts'
import { STICKY_KEYS, STICKY_REMARK } from './nginx-sticky.ts'
import { mapping, quoted } from './write-draft.ts'

/** Said of the cookie, and so in any case here. */
const SAME = /^(insert|indirect|nocache|httponly|secure)$/
const LEFT: Readonly<Record<string, string>> = {
  postonly: 'whoever was given a server gets the cookie here, with any method',
  preserve: 'servers do not set the cookie here',
  dynamic: 'the cookie is made of keys of ours here (sticky.keys)',
  domain: 'the cookie is for the host that it came from here',
  maxidle: 'the cookie does not end by being idle here; see ttl',
}

/** Only such as are put beside those of the application: it is made of keys of ours, and whoever has an old one is given a server anew. */
export function haproxySticky(line: Statement, pool: DraftPool, draft: Draft): void {
  const [, name = '', ...options] = line.words
  if (!options.includes('insert') || !/^[A-Za-z][A-Za-z0-9_.-]{0,60}$/.test(name))
    return draft.left(line, 'only cookies of our own are there, as by insert, or those that are learnt; see sticky.appCookie')
  // A browser has one of that name, which cannot name servers of two pools.
  const isTaken = draft.pools.some(({ settings }) =>
    settings.some(({ path, value }) => path[0] === 'sticky' && value.includes(quoted(name))),
  )
  const own = isTaken ? `${name}-${pool.name}` : name
  const pairs: [string, string][] = [['name', quoted(own)]]
  if (options.includes('secure')) pairs.push(['secure', 'true'])
  for (let i = 0; i < options.length; i++) {
    const option = options[i] as string
    if (SAME.test(option)) continue
    const value = /^(maxidle|maxlife|domain|attr)$/.test(option) ? (options[++i] ?? '') : ''
    const ttl = durationText(haproxyTime(/^\d+$/.test(value) ? `${value}s` : value) ?? 0)
    const sameSite = /^SameSite=(Strict|Lax|None)$/i.exec(value)?.[1]
    if (option === 'maxlife' && ttl !== undefined) {
      pairs.push(['ttl', ttl])
      draft.left(line, 'maxlife is how long browsers keep the cookie here (ttl)')
    } else if (option === 'attr' && sameSite !== undefined && (sameSite.toLowerCase() !== 'none' || options.includes('secure')))
      pairs.push(['sameSite', `${sameSite[0]?.toUpperCase()}${sameSite.slice(1).toLowerCase()}`])
    else
      draft.left(line, `${option}: ${(Object.hasOwn(LEFT, option) ? LEFT[option] : undefined) ?? 'it is not possible for the cookie here'}`)
  }
  const cookie = pairs.length === 1 ? quoted(own) : mapping(pairs)
  setIn(pool.settings, { path: ['sticky'], value: `{ cookie: ${cookie} }`, source: line }, draft)
  draft.set({ path: ['sticky', 'keys'], value: STICKY_KEYS, source: line, remark: STICKY_REMARK })
}
