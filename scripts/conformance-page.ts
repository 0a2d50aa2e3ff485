/** The page that says which requirements of HTTP/1.1 are tested: made from the cases themselves. */
import type { Case, Level } from '../test/conformance/http1/case.ts'
import { PITFALLS } from '../test/conformance/http1/pitfalls.ts'
import { TOPICS, type Topic } from '../test/conformance/http1/topics.ts'

const LEVELS: Readonly<Record<Level, string>> = {
  MUST: 'MUST',
  SHOULD: 'SHOULD',
  choice: 'our choice',
  'departs from a MUST': '**departs from a MUST**',
  'departs from a SHOULD': '**departs from a SHOULD**',
}

export function conformancePage(): string {
  const all = TOPICS.flatMap(({ cases }) => cases)
  return `# Conformance to HTTP/1.1

Generated from \`test/conformance/http1/\`; do not edit. **${all.length} cases**: ${counts(all)}.

Each case is a test of \`test/conformance/http1-cases.test.ts\`. The whole gateway runs between a client and a server that are played byte by byte over raw sockets. A case
says what the client writes and what the server answers, and looks at what the server read, to the byte, what the client read, and how the connections ended: where it
does not close, one more request on the same connection must get its own answer. Behind every case another client must be served.

- **MUST**, **SHOULD**: the words of the section (RFC 2119). They are said of clients, servers and intermediaries; a gateway is each of them to somebody.
- **our choice**: the section allows several ways or leaves it open; the case says which one is ours, and why.
- **departs from …**: we do otherwise on purpose. There are ${all.filter(departs).length}, all of them refusals or protections.
- Bytes that have two meanings are refused wherever the RFC allows that, never repaired: whoever reads them after us might repair them in another way.

Random requests are compared with Node's parser in \`test/property/http1-differential.test.ts\`, and malformed ones are refused in every cut in \`test/conformance/http1-malformed.test.ts\`;
limits and times stand in [config.md](config.md), errors in [errors.md](errors.md).

${TOPICS.map(topicTable).join('\n')}
## What proxies miss most often

The requirements that bugs of proxies were found in most often, and how many of the cases above are about each.

| section | requirement | cases |
|---|---|---|
${Object.entries(PITFALLS)
  .map(([pitfall, [section, what]]) => `| ${section} | ${what} | ${all.filter((row) => row.pitfall === pitfall).length} |`)
  .join('\n')}
`
}

function departs({ level }: Case): boolean {
  return level.startsWith('departs')
}

function counts(all: readonly Case[]): string {
  const of = (level: Level): number => all.filter((row) => row.level === level).length
  return `${of('MUST')} of a MUST, ${of('SHOULD')} of a SHOULD, ${of('choice')} of a choice that is ours, ${all.filter(departs).length} where we depart from the RFC`
}

function topicTable({ title, cases }: Topic): string {
  const rows = cases.map((row) => `| ${row.section} | ${LEVELS[row.level]} | ${caseText(row, cases)} |`)
  return `## ${title}

${cases.length} cases.

| section | requirement | case |
|---|---|---|
${rows.join('\n')}
`
}

/** A reason that is that of the case before stands only there. */
function caseText(row: Case, cases: readonly Case[]): string {
  const before = cases[cases.indexOf(row) - 1]
  const why = row.why === undefined || row.why === before?.why || row.why === 'as above' ? '' : ` (${row.why})`
  return escaped(`${row.title}${why}`)
}

/** Markdown reads these in the middle of a table. */
function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('|', '\\|').replaceAll('*', '\\*').replaceAll('_', '\\_').replaceAll('<', '&lt;')
}
