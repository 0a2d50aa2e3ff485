/** The reference pages, made from the sources that the program itself runs on: the schema of the configuration, the registries of errors and metrics. */
import type { JsonSchema } from '../src/config/json-schema.ts'
import { configJsonSchema, formsOf } from '../src/config/json-schema.ts'
import { ERRORS } from '../src/core/errors.ts'
import { metricsReference } from '../src/telemetry/names.ts'

/** What each page must hold now, by file name. */
export function referencePages(): Readonly<Record<string, string>> {
  return {
    'config.schema.json': `${JSON.stringify(configJsonSchema(), undefined, 2)}\n`,
    'config.md': configPage(configJsonSchema()),
    'errors.md': errorsPage(),
    'metrics.md': metricsReference(),
  }
}

function configPage(schema: JsonSchema): string {
  const sections = Object.entries(schema.properties ?? {}).map(([key, child]) =>
    configSection(key, child, schema.required?.includes(key) ?? false),
  )
  return `# Configuration

Generated from \`src/config/schema.ts\`; do not edit. A configuration is a YAML file, or a \`.ts\`/\`.js\` module whose default export it is
(\`defineConfig()\` makes an editor complete it). For YAML, an editor that reads JSON Schema does the same with this first line:
\`# yaml-language-server: $schema=docs/reference/config.schema.json\`

- Durations: one number and a unit, \`500ms 2s 5m 1h 14d\`, at most \`3650d\`. Sizes: \`512B 64KiB 1MiB 10GiB\`.
- \`\${NAME}\` is replaced by a variable of the environment, which must be set; \`\${NAME:-default}\` by the default when it is unset or empty; \`$\${\` stands for
  \`\${\`. Inside of \`{ }\` and \`[ ]\` YAML wants quotes around it.
- Relative paths are relative to the file.
- An unknown key, a wrong type, a name that points nowhere and keys that contradict each other are errors. \`spillway check\` tells all of them at once.
- \`<name>\` is yours to choose: 1 to 64 letters, digits, \`-\`, \`_\` or \`.\`.

${sections.join('\n')}`
}

interface Row {
  readonly path: string
  readonly schema: JsonSchema
  readonly required: boolean
}

function configSection(key: string, schema: JsonSchema, required: boolean): string {
  const rows = rowsOf(key, schema)
  const must = required ? ' Required.' : ''
  const type = rows.length === 0 || schema.default !== undefined ? typeText(schema) : 'mapping'
  const fallback = defaultText({ path: '', schema, required: false })
  const facts = type === 'mapping' ? '' : ` Type: ${type}.${fallback === '' ? '' : ` Default: ${fallback}.`}`
  const head = `## ${key}\n\n${schema.description ?? ''}${must}${facts}\n`
  if (rows.length === 0) return head
  const table = rows.map((row) => `| \`${row.path}\` | ${typeText(row.schema)} | ${defaultText(row)} | ${row.schema.description ?? ''} |`)
  return `${head}\n| key | type | default | |\n|---|---|---|---|\n${table.join('\n')}\n`
}

/** The keys below one, depth first. Of several forms, the one with keys. */
function rowsOf(path: string, schema: JsonSchema): Row[] {
  const forms = formsOf(schema)
  const chosen = forms.some((form) => form.properties !== undefined) ? forms.filter((form) => form.properties !== undefined) : forms
  return chosen.flatMap((form) => {
    if (form.items !== undefined) return rowsOf(`${path}[]`, form.items)
    if (typeof form.additionalProperties === 'object' && form.additionalProperties.type !== 'string')
      return rowsOf(`${path}.<name>`, form.additionalProperties)
    return Object.entries(form.properties ?? {}).flatMap(([key, child]) => {
      const row = { path: `${path}.${key}`, schema: child, required: form.required?.includes(key) ?? false }
      return [row, ...rowsOf(row.path, child)]
    })
  })
}

function typeText(schema: JsonSchema): string {
  const forms = formsOf(schema).map((form) => {
    if (form.enum !== undefined) return form.enum.map((value) => `\`${String(value)}\``).join(', ')
    if (form.items !== undefined) return `list of ${typeText(form.items)}`
    if (form.title !== undefined) return form.title
    if (form.type === 'integer') return rangeText(form)
    if (form.type === 'boolean') return '`true`, `false`'
    return form.type === 'string' ? 'text' : 'mapping'
  })
  return [...new Set(forms)].join(' or ').replaceAll('|', '\\|')
}

function rangeText({ minimum = 0, maximum = Number.MAX_SAFE_INTEGER }: JsonSchema): string {
  return `${minimum} to ${maximum}`
}

function defaultText({ schema, required }: Row): string {
  if (required) return 'required'
  const value = schema.default
  if (value === undefined || (typeof value === 'object' && value !== null && Object.keys(value).length === 0)) return ''
  return `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``
}

const RETRY_WORDS = { no: 'no', yes: 'yes', later: 'yes, after `Retry-After`' } as const

function errorsPage(): string {
  const rows = Object.entries(ERRORS).map(
    ([code, kind]) => `| \`${code}\` | ${kind.status} | ${kind.title} | ${kind.source} | ${RETRY_WORDS[kind.retry]} | \`${kind.proxy}\` |`,
  )
  return `# Errors

Generated from \`src/core/errors.ts\`; do not edit. Every error that Spillway itself answers is an RFC 9457 document (\`application/problem+json\`) with
\`type\` \`urn:spillway:error:<code>\`, a stable \`code\`, and the header \`Proxy-Status: spillway; error=<proxy status>\` (RFC 9209). For errors that only stand in a
job's record, the status is what its result URL answers with.

| code | status | title | source | may be sent again | proxy status |
|---|---|---|---|---|---|
${rows.join('\n')}
`
}
