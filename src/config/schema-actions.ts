/** What a route may match on, and what it may do to its calls beside saying where they go. */
import * as z from 'zod'
import { parseTemplate, type Template, VARIABLES } from '../core/actions/template.ts'
import * as field from './fields.ts'

const text = z.string().min(1)

const simpleTest = {
  prefix: text.optional().describe('It begins with this.'),
  suffix: text.optional().describe('It ends with this.'),
  contains: text.optional().describe('This is somewhere in it.'),
}

const valueTest = z.union([
  z.string(),
  z.array(z.string()).min(1),
  z.strictObject({
    present: z.boolean().optional().describe('`true`: it is there, whatever it says. `false`: it is not there.'),
    ...simpleTest,
    not: z
      .union([z.string(), z.array(z.string()).min(1), z.strictObject(simpleTest)])
      .optional()
      .describe('Not so; also when it is not there.'),
  }),
])

const HOW =
  'A value: exactly this. A list: one of these. Or one of `{ present: true }`, `{ present: false }`, `{ prefix: … }`, `{ suffix: … }`, `{ contains: … }`, and `{ not: … }` of a value, a list or one of these.'

export const matchSchema = z.strictObject({
  host: z
    .union([field.matchHost, z.array(field.matchHost).min(1)])
    .optional()
    .describe('`api.example.com`, or `*.example.com` for one or more labels before it; or a list. Left out: any.'),
  path: z
    .union([field.pathPattern, z.array(field.pathPattern).min(1)])
    .prefault('/*')
    .describe('`/exact`, `/prefix/*`, and whole segments as `{parameter}`; or a list. Compared with the raw path; nothing is decoded.'),
  method: z
    .union([field.method, z.array(field.method).min(1)])
    .optional()
    .describe('One method or a list. Left out: any. A method that does not match lets the next route try.'),
  headers: z.record(z.string(), valueTest).default({}).describe(`All must be so. ${HOW} Of several fields of that name one is enough.`),
  query: z.record(z.string(), valueTest).default({}).describe(`All must be so, compared decoded. ${HOW}`),
})

const template = field.textField(
  (written): field.Reading<Template> => {
    const parsed = parseTemplate(written)
    return typeof parsed === 'string' ? { wrong: parsed } : { value: parsed }
  },
  { title: 'text with `{variables}`' },
)

const VARIABLE_LIST = Object.entries(VARIABLES)
  .map(([name, says]) => `\`{${name}}\` (${says})`)
  .join(', ')

const rewrite = z.strictObject({
  strip: field.jobsPath.optional().describe('Taken away from the beginning of the path. The path of the route begins with it.'),
  prefix: field.jobsPath.optional().describe('Put before the path, or before what `strip` leaves of it.'),
  path: template
    .optional()
    .describe(
      'Instead of the path: with parameters of the route, `/new/{id}`, and what its `*` stands for, `/new/{*}`. As they came: nothing is decoded.',
    ),
  host: field.rewrittenHost.optional().describe('Instead of the Host of the request; `X-Forwarded-Host` still says that one.'),
})

const redirect = z.strictObject({
  to: template.describe(
    'Where clients are sent: a path or a URL. With parameters of the route, `{*}`, and variables: `https://www.example.com{request.target}`. Before the path of a URL only `{request.host}` and `{request.hostname}` may stand.',
  ),
  status: z
    .union([z.literal(301), z.literal(302), z.literal(303), z.literal(307), z.literal(308)])
    .default(308)
    .describe('308 and 301 may be remembered, 307 and 302 not; with 308 and 307 the method stays.'),
})

const answer = z.strictObject({
  status: field.count(200, 599).default(200).describe('Of the answer.'),
  body: z.string().optional().describe('What it says. Text, unless `headers` give another `Content-Type`.'),
  file: text.optional().describe('Instead of `body`: a file, relative to this one, that is read with the configuration (`limits.answer`).'),
  headers: z.record(z.string(), z.string()).default({}).describe('Its headers.'),
})

const values = z.record(z.string(), z.union([template, z.array(template).min(1)]))

const edits = (side: string) =>
  z.strictObject({
    set: z.record(z.string(), template).default({}).describe(`Has this value in ${side}, whatever it had.`),
    add: values.default({}).describe('One field more, or several.'),
    remove: z.array(field.headerName).default([]).describe('All fields of these names are taken out.'),
  })

const headers = z.strictObject({
  request: edits('what servers get').optional().describe('Of what servers get, attempts of jobs included.'),
  response: edits('what clients get')
    .optional()
    .describe('Of every answer that the route gives: those of servers, results of jobs, redirects, and errors of the gateway.'),
})

/** Keys of a route. */
export const actionKeys = {
  rewrite: rewrite.optional().describe('Servers are asked for another target than clients ask for. The query stays.'),
  redirect: redirect.optional().describe('Clients are sent elsewhere; no server is asked, and the route needs no pool.'),
  answer: answer.optional().describe('The gateway answers by itself; the route needs no pool.'),
  headers: headers
    .optional()
    .describe(
      `Header fields that are changed on the way. Values may have parameters of the route, \`{*}\`, and variables: ${VARIABLE_LIST}. A field whose value comes out empty is left out. Fields that frame a message or belong to a connection, and \`Spillway-*\`, cannot be changed.`,
    ),
  serverTiming: z
    .boolean()
    .optional()
    .describe(
      'Answers say in `Server-Timing` how long the request waited, connected, and waited for the server. Instead of the global `serverTiming`.',
    ),
}

/** Keys of the file. */
export const explainKeys = {
  requestId: z
    .union([
      field.off,
      z.strictObject({
        header: field.headerName.default('x-request-id').describe('In which header it comes and goes.'),
        accept: z
          .enum(['trusted', 'anyone', 'nobody'])
          .default('trusted')
          .describe('From whom one is taken over: `trustedPeers`, anyone, or nobody. Otherwise a new one is made.'),
      }),
    ])
    .default('off')
    .describe(
      'Each call has an id: 1 to 128 letters, digits and `-_.~+/=:@`, else a new one of 128 random bits. Servers get it, with every attempt of a job as well; clients get it back; it stands in problems and in the access log. Write `{}` to switch it on.',
    ),
  tracing: z
    .union([
      field.off,
      z.strictObject({
        start: z.boolean().default(true).describe('A request without a trace begins one. `false`: only those that come with one have one.'),
        accept: z.enum(['trusted', 'anyone']).default('anyone').describe('Whose traces are continued; those of others are dropped.'),
      }),
    ])
    .default('off')
    .describe(
      'W3C Trace Context. `off`: a valid `traceparent` passes with its `tracestate` as it came, a wrong one is dropped with it. Otherwise the gateway takes part: servers see it as their parent, and the access log has the trace id.',
    ),
  serverTiming: z.boolean().default(false).describe('All routes tell times in `Server-Timing`; see [routes](../routing.md#server-timing).'),
}

export type ParsedTest = z.output<typeof valueTest>
