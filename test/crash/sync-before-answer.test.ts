/**
 * Durable means: on the disk before the client is told. The system calls of the real gateway are traced: for every 202, the sync of what it
 * promises ends before the 202 is written to the socket; and clients that come together share their syncs.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { tellFigures } from '../soak/form.ts'
import { startGateway } from '../support/child-gateway.ts'
import { ask } from '../support/http-client.ts'
import { straceProblem } from './strace.ts'
import { checkSyncs, type Promised, readTrace, syncTracer } from './sync-trace.ts'

const CLIENTS = 200
const JOBS_PER_CLIENT = 3
/** "Shared" means at least so many answers per sync. */
const ANSWERS_PER_SYNC_MIN = 4

describe('the sync comes before the answer', { skip: straceProblem() ?? false, timeout: 120_000 }, () => {
  let folder = ''
  let lines: readonly string[] = []
  const alone: Promised[] = []
  const together: Promised[] = []

  before(async () => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'spillway-sync-')))
    const trace = join(folder, 'trace')
    // No server listens there: the jobs stay, and all syncs are those of their acceptance.
    const config = { pools: { api: ['http://127.0.0.1:1'] }, routes: [{ match: 'POST /work', mode: 'queue' as const }] }
    const gateway = await startGateway(config, { folder, wrap: syncTracer(trace) })
    const submit = async (marker: string): Promise<Promised> => {
      const answer = await ask(`${gateway.url}/work`, { method: 'POST', body: `<${marker}>` })
      assert.equal(answer.status, 202)
      return { marker: `<${marker}>`, job: String(answer.headers['spillway-job']) }
    }
    for (let n = 0; n < 20; n++) alone.push(await submit(`alone ${n}`))
    const client = async (name: number): Promise<void> => {
      for (let n = 0; n < JOBS_PER_CLIENT; n++) together.push(await submit(`client ${name} job ${n}`))
    }
    await Promise.all(Array.from({ length: CLIENTS }, (_, name) => client(name)))
    // The tracer notes a call when it returns, which the last answer's may not have done yet: this one may be missing.
    await ask(gateway.url)
    // The tracer passes it on to nobody: it is the gateway's own process that ends, and the tracer with it.
    process.kill(Number(gateway.of('started')[0]?.['pid']), 'SIGKILL')
    await gateway.exited
    lines = await readTrace(trace)
  })
  after(() => rmSync(folder, { recursive: true }))

  const check = (of: readonly string[], promised: readonly Promised[]) => checkSyncs(of, join(folder, 'data', ''), promised)

  test('for every 202, of one client after the other and of many at once', () => {
    assert.deepEqual(check(lines, [...alone, ...together]).violations, [])
  })

  test(`${CLIENTS} clients at once share syncs`, (t) => {
    const { syncs } = check(lines, [])
    tellFigures(t, `${together.length} answers to ${CLIENTS} clients at once, ${alone.length} alone, ${syncs} syncs in all`)
    assert.ok((syncs - alone.length) * ANSWERS_PER_SYNC_MIN <= together.length, `${syncs} syncs`)
  })

  test('a trace without syncs, or with late ones, is found out', () => {
    const isSync = (line: string): boolean => /f(data)?sync(\(| resumed)/.test(line)
    const promised = [...alone, ...together]
    const without = check(
      lines.filter((line) => !isSync(line)),
      promised,
    )
    assert.equal(without.violations.length, promised.length)
    assert.match(String(without.violations[0]), /was accepted before it was synced/)
    const late = [...lines.filter((line) => !isSync(line)), ...lines.filter(isSync)]
    assert.equal(check(late, promised).violations.length, promised.length)
    // One whose answer is a line of its own: of a call that another one interrupts there are two.
    const lineOf = ({ job }: Promised): number =>
      lines.findIndex((line) => line.includes(`Spillway-Job: ${job}`) && !line.includes('unfinished'))
    const [first] = alone.filter((each) => lineOf(each) >= 0) as [Promised]
    const at = lineOf(first)
    const early = [lines[at] as string, ...lines.slice(0, at), ...lines.slice(at + 1)]
    assert.deepEqual(check(early, promised).violations, [`job ${first.job} was accepted before it was written`])
    assert.deepEqual(check([...lines.slice(0, at), ...lines.slice(at + 1)], [first]).violations, [
      `the 202 of job ${first.job} is not in the trace`,
    ])
  })
})
