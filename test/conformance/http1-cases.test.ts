/**
 * The gateway as a proxy, case by case: what RFC 9110, RFC 9112 and their like ask of it, from outside over raw sockets, with what
 * reaches the server looked at byte for byte. The cases are data, in `http1/`; `docs/reference/conformance.md` lists them.
 */
import assert from 'node:assert/strict'
import { after, suite, test } from 'node:test'
import { type Case, declined, type GatewayKind, get } from './http1/case.ts'
import { PITFALLS } from './http1/pitfalls.ts'
import { CaseRig } from './http1/rig.ts'
import { runCase } from './http1/run-case.ts'
import { TOPICS } from './http1/topics.ts'

const rigs = new Map<GatewayKind, Promise<CaseRig>>()
after(async () => {
  for (const rig of rigs.values()) await (await rig)[Symbol.asyncDispose]()
})

async function run(row: Case): Promise<void> {
  const kind = row.gateway ?? 'plain'
  const rig = rigs.get(kind) ?? CaseRig.start(kind)
  rigs.set(kind, rig)
  await runCase(await rig, row)
}

for (const { title, cases } of TOPICS) {
  suite(title, () => {
    for (const row of cases) test(`${row.section}: ${row.title}`, () => run(row))
  })
}

suite('the list', () => {
  const all = TOPICS.flatMap(({ cases }) => cases)

  test('has at least 200 cases, each named once, each of an RFC', () => {
    assert.ok(all.length >= 200, `${all.length}`)
    const names = all.map(({ section, title }) => `${section}: ${title}`)
    assert.deepEqual(
      names.filter((name, i) => names.indexOf(name) !== i),
      [],
    )
    for (const { section } of all) assert.match(section, /^RFC \d{4} §[\d.]+$/)
  })

  test('says why wherever it was free to choose, and only there', () => {
    for (const { level, why, title } of all) assert.equal(why !== undefined, level !== 'MUST' && level !== 'SHOULD', title)
  })

  for (const pitfall of Object.keys(PITFALLS))
    test(`has cases for what is missed most often: ${pitfall}`, () => assert.ok(all.some((row) => row.pitfall === pitfall)))
})

suite('canary: a case can fail', () => {
  const base: Case = { section: 'RFC 9112 §3', level: 'MUST', title: 'canary', client: get('X: 1'), answer: { status: 200 } }
  const wrong: Readonly<Record<string, readonly [Partial<Case>, RegExp]>> = {
    'another status': [{ answer: { status: 201 } }, /200/],
    'a field that is not there': [{ answer: { fields: { 'x-none': 'y' } } }, /x-none/],
    'a field that should not be there': [{ answer: { fields: { date: [] } } }, /date/],
    'another body': [{ answer: { body: 'other' } }, /other/],
    'an answer too many': [{ answer: [{ status: 103 }, { status: 200 }] }, /answers/],
    'a request that should not have reached a server': [{ got: [] }, /reached a server/],
    'a field that did not reach the server': [{ got: { fields: { x: '2' } } }, /x:/],
    'a body that did not reach the server': [{ got: { body: 'hello' } }, /hello/],
    'a good request for one that is refused': [{ ...declined(400) }, /200/],
    'a connection that closes': [{ client: get('Connection: close') }, /stays/],
    'another number of connections': [{ connections: 2 }, /connections to servers/],
    'an answer that breaks off': [
      { server: { bytes: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok', then: 'close' }, ends: 'closed' },
      /complete/,
    ],
    'an answer with something behind it': [{ server: 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok', answer: { body: 'ok' } }, /ok/],
  }
  for (const [what, [change, message]] of Object.entries(wrong)) test(what, () => assert.rejects(run({ ...base, ...change }), message))
})
