/** What a file may say about which pool and which server a request gets, beside how a pool balances. */
import * as z from 'zod'
import * as field from './fields.ts'

const failover = z.strictObject({
  pool: field.name.describe('Which pool stands in.'),
  when: z
    .enum(['down', 'full'])
    .default('down')
    .describe('`down`: when no server of its own is up, or left for the request. `full`: also when none has a free slot.'),
})

const share = z.strictObject({
  pool: field.name.describe('Its name.'),
  weight: field.count(0, 10_000).describe('Its share, compared with the other pools of the list. 0: it gets nobody new.'),
})

export const poolOfRouteSchema = z
  .union([z.string(), z.array(share).min(1)])
  .describe(
    'Whose servers take the requests. May be left out when there is only one pool. Or a list, each with its `weight`: `[{ pool: stable, weight: 95 }, { pool: canary, weight: 5 }]`; not on a queue route, whose queue has one pool.',
  )

export const splitBySchema = field.balanceSource.describe(
  'With a list of pools: who shows the same gets the same pool, written like the `hash` of a pool: `address`, `cookie:session`, `header:X-Account`, `query:id`, `path:id`, `path`. When weights change, only the changed share of them moves. Left out, or nothing to show: each request draws.',
)

export const failoverSchema = z
  .union([field.name, failover])
  .describe(
    'The pool that gets its direct requests and tunnels while it has no server up, and so on along the chain. Jobs wait for their own pool. A name, or a mapping.',
  )

const ownCookie = z.strictObject({
  name: field.cookieName.describe('What it is called.'),
  ttl: field.span.optional().describe('How long browsers keep it, from when it was set. Left out: as long as they are open.'),
  path: field.cookiePath.prefault('/').describe('For which paths browsers send it.'),
  secure: z.boolean().default(false).describe('Browsers send it over https only. Set it where clients come over https.'),
  sameSite: z
    .enum(['Strict', 'Lax', 'None'])
    .default('Lax')
    .describe('Whether it is sent with requests from other sites; `None` needs `secure`.'),
})

const appCookie = z.strictObject({
  name: field.cookieName.describe("What the application's cookie is called: `JSESSIONID`."),
  ttl: field.span.prefault('30m').describe('A session that was not used for so long is forgotten.'),
})

const sticky = z.strictObject({
  cookie: z
    .union([field.cookieName, ownCookie])
    .optional()
    .describe(
      'A cookie of our own names the server, signed and opaque, and the pool with it. A name, or a mapping. Servers do not see it. Needs `sticky.keys`.',
    ),
  appCookie: z
    .union([field.cookieName, appCookie])
    .optional()
    .describe(
      'Which server has which session is learnt from this cookie of the application. In the memory of this gateway only; at most `limits.stickySessions`.',
    ),
  wait: field.duration
    .prefault('1s')
    .describe('How long a request waits for its own server when that is full, before it goes to another one; `0s`: not at all.'),
})

export const stickyOfPoolSchema = sticky.describe(
  'Who was on a server comes back to it as long as it can be used. For whoever shows a header, or comes from an address, see `balance`.',
)

export const stickyOfRouteSchema = z
  .union([field.off, sticky])
  .describe(
    "Instead of the pool's `sticky`, or `off`. On a route over several pools it keeps the pool, too. Upgrades obey it; jobs do not.",
  )

const stickyKey = z.strictObject({
  id: field.name.describe('What it is called in messages.'),
  secret: field.storeSecret.describe(
    '32 random bytes in base64 or hex: `"${STICKY_KEY}"`, made by `openssl rand -base64 32`. The same on all gateways.',
  ),
})

export const stickyKeysSchema = z.strictObject({
  keys: z
    .array(stickyKey)
    .min(1)
    .max(8)
    .describe(
      'The first makes cookies; those of the others are understood, and made anew. So a key is changed: put the new one in front, take the old one out later.',
    ),
})
