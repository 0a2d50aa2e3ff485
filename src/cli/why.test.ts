/** What an on-call engineer is told, situation by situation. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { PoolStatus } from '../admin/status.ts'
import type { AttemptRecord } from '../ports/job-store.ts'
import type { JobFacts, QueueFacts } from './job-facts.ts'
import { type WhyFacts, whyLines } from './why.ts'

const NOW = Date.parse('2030-01-01T12:00:00Z')

function job(changes: Partial<JobFacts> = {}): JobFacts {
  return {
    ...{
      id: 'job1',
      queue: 'reports',
      status: 'queued',
      priority: 0,
      attempt: 0,
      attempts: 20,
      handOuts: 0,
      redrives: 0,
      blocksKey: false,
    },
    ...{ submittedAt: NOW - 60_000, route: 'POST /reports', method: 'POST', requestBytes: 1024 },
    ...changes,
  }
}

function queue(changes: Partial<QueueFacts> = {}): QueueFacts {
  return {
    ...{ name: 'reports', pool: 'api', paused: false, counts: { running: 0 }, scheduled: 0, bytes: 0, dead: {}, blockedKeys: 0 },
    ...{ timeoutMs: 60_000, concurrency: 8, definedIn: 'file', limits: {}, buckets: {}, rules: {} },
    ...changes,
  }
}

function pool(...states: readonly Partial<PoolStatus['servers'][number]>[]): PoolStatus {
  const servers = states.map((state, i) => ({ name: `s${i + 1}`, weight: 1, state: 'up', inFlight: 0, tunnels: 0, ...state }))
  return { name: 'api', balance: 'round-robin', waiting: 0, maxInFlight: 64, servers }
}

function facts(changes: Partial<WhyFacts> = {}): WhyFacts {
  return { now: NOW, job: job(), history: [], queue: queue(), pool: pool({}), blocker: undefined, ...changes }
}

function handOut(changes: Partial<AttemptRecord> = {}): AttemptRecord {
  return { handOut: 1, attempt: 1, server: 's1', startedAt: NOW - 50_000, endedAt: NOW - 20_000, outcome: 'server_error', ...changes }
}

/** Without blanks between columns. */
function told(changes: Partial<WhyFacts>): string {
  return whyLines(facts(changes)).join('\n').replaceAll(/ {3,}/g, '  ')
}

function tells(changes: Partial<WhyFacts>, ...parts: readonly string[]): void {
  const text = told(changes)
  for (const part of parts) assert.ok(text.includes(part), `${part}\n--- is not in\n${text}`)
}

test('the whole of it, once', () => {
  const history = [handOut({ status: 500, detail: 'The server answered 500.' }), handOut({ handOut: 2, outcome: 'gateway_stopped' })]
  delete (history[1] as { attempt?: number }).attempt
  const waiting = job({
    status: 'retrying',
    attempt: 1,
    handOuts: 2,
    key: 'a b',
    notBefore: NOW + 12_000,
    reference: 'r',
    tenant: 't',
    priority: 3,
    error: { code: 'server_error', status: 500, detail: 'The server answered 500.' },
  })
  assert.deepEqual(whyLines(facts({ job: waiting, history })), [
    'job job1 of queue reports: retrying, attempt 1 of 20, key "a b"',
    '',
    'It came 2030-01-01T11:59:00Z (1 min ago) by route "POST /reports", a POST of 1 KiB, priority 3, tenant t, reference r.',
    'It was handed out:',
    '  1. 2030-01-01T11:59:10Z to s1, ended after 30 s (attempt 1): server_error 500: The server answered 500.',
    '  2. 2030-01-01T11:59:10Z to s1, ended after 30 s (no attempt): the gateway stopped meanwhile, so it went back to the line (gateway_stopped)',
    '',
    'It waits: it is tried again not before 2030-01-01T12:00:12Z (in 12 s), because the last hand-out failed: server_error 500, The server answered 500.',
    '',
    'next:',
    '  spillway jobs cancel job1  if it is not wanted any more',
  ])
})

describe('why it waits', () => {
  test('a paused queue, whatever else', () => {
    tells({ queue: queue({ paused: true }) }, 'It waits: queue reports is paused', '  spillway queues resume reports')
    const both = { queue: queue({ paused: true }), job: job({ notBefore: NOW + 1000 }) }
    tells(both, 'It waits: queue reports is paused', 'And: it was sent with a delay')
  })
  test('a delay that the client asked for', () =>
    tells({ job: job({ notBefore: NOW + 300_000 }) }, 'it was sent with a delay: not before 2030-01-01T12:05:00Z (in 5 min).'))
  test('a moment that has come is no reason any more', () => assert.ok(!told({ job: job({ notBefore: NOW - 1 }) }).includes('delay')))
  describe('the key', () => {
    const waiting = job({ key: "it's", blockedBy: 'job0', position: 7 })
    test('held by a job that failed: how to go on with it or without it', () => {
      const blocker = job({ id: 'job0', status: 'failed', dead: 'attempts', blocksKey: true })
      tells(
        { job: waiting, blocker },
        'It waits: job job0 failed (attempts) and holds their key "it\'s" until somebody releases it.',
        'spillway why job0  what happened to it',
        'spillway jobs redrive job0  to try it again, or',
        "spillway keys release reports 'it'\\''s'  to go on without it",
      )
    })
    test('held by one that runs, retries, or is not told', () => {
      tells(
        { job: waiting, blocker: job({ id: 'job0', status: 'running', server: 's1', attemptAt: NOW - 5000 }) },
        'comes first, and it runs on s1 since 5 s.',
        '  spillway why job0',
      )
      tells({ job: waiting, blocker: job({ id: 'job0', status: 'retrying' }) }, 'comes first, and it is retrying.')
      tells({ job: waiting }, 'job job0 of the same key comes first.')
    })
    test('its place in the line says nothing then', () => assert.ok(!told({ job: waiting }).includes('number 7')))
    test('a key that begins like an option, or cannot be seen, can be pasted all the same', () => {
      const blocker = job({ id: 'job0', status: 'failed', blocksKey: true })
      tells({ job: { ...waiting, key: '-x' }, blocker }, 'spillway keys release reports -- -x')
      tells({ job: { ...waiting, key: '\u001b[2J' }, blocker }, '"$(printf %b \'\\0033\\0133\\0062\\0112\')"', 'their key "\\u001b[2J"')
    })
  })
  test('no server is up: which, and why', () => {
    const down = pool({ state: 'down', reason: 'connection refused' }, { state: 'unknown' })
    tells({ pool: down }, 'no server of pool api is up: s1 down (connection refused), s2 unknown.', 'bring a server back; the job is kept')
  })
  test('servers that rest', () =>
    tells({ pool: pool({ restsMs: 9000 }, { restsMs: 4000 }) }, 'answered 429 or 503 and rests; the first goes on in 4 s.'))
  test('one that does not rest is enough', () => assert.ok(!told({ pool: pool({ restsMs: 9000 }, {}) }).includes('rests')))
  test('all servers have all they may have', () =>
    tells({ pool: pool({ inFlight: 64 }, { inFlight: 65 }) }, 'has its maxInFlight of 64 requests.', 'raise pools.api.maxInFlight'))
  test('all places of the queue are taken, at n and not at n - 1', () => {
    tells(
      { queue: queue({ counts: { running: 16 } }), pool: pool({}, {}) },
      'all 16 places of the queue are taken (8 on each of 2 servers).',
      'raise queues.reports.concurrency',
    )
    assert.ok(!told({ queue: queue({ counts: { running: 15 } }), pool: pool({}, {}) }).includes('taken'))
  })
  test('rules of the queue that may hold it', () => {
    const rules = { maxRunning: 2, rate: { count: 100, perMs: 1000 }, keyRate: { count: 10, perMs: 60_000 }, tenantMaxRunning: 1 }
    const limited = { queue: queue({ rules, counts: { running: 2 } }), job: job({ key: 'k', tenant: 't' }) }
    tells(
      limited,
      '2 jobs of the queue run, and maxRunning allows 2.',
      'at most 100 a second.',
      'each key gets at most 10 in 1 min.',
      'at most 1 job of a tenant run at once.',
    )
    assert.ok(!told({ queue: queue({ rules: { keyRate: rules.keyRate, tenantMaxRunning: 1, maxRunning: 2 } }) }).includes('And:'))
  })
  test('pull consumers that do not ask, or do not keep up', () => {
    const { pool: _, ...pulled } = queue()
    tells(
      { queue: pulled, pool: undefined },
      'pull consumers work off queue reports, and none of them has a job now.',
      'see whether the consumers run',
    )
    tells(
      { queue: { ...pulled, counts: { running: 3 } }, pool: undefined },
      'the pull consumers have 3 jobs, and have not asked for this one yet.',
    )
  })
  test('nothing that can be seen; its place, and how long that may take', () => {
    tells(
      { job: job({ position: 12 }), queue: queue({ drainPerSecond: 4 }) },
      'Nothing that can be seen holds it',
      'It is number 12 in the line, about 3 s at the pace of now.',
      '  spillway status',
      '  spillway jobs follow job1',
    )
    tells({ job: job({ position: 12 }), queue: undefined, pool: undefined }, 'It is number 12 in the line.')
  })
  test('until when it may wait', () => {
    tells(
      { job: job({ expiresAt: NOW + 60_000, deadlineAt: NOW + 3_600_000 }) },
      'If no server takes it before 2030-01-01T12:01:00Z (in 1 min), it expires.',
      '(in 1 h), it becomes a dead letter.',
    )
    assert.ok(!told({ job: job({ expiresAt: NOW + 60_000, attempt: 1 }) }).includes('expires'))
  })
})

describe('while it runs', () => {
  test('where, since when, as which attempt, and what it said', () => {
    const running = job({ status: 'running', server: 's1', attempt: 2, handOuts: 2, attemptAt: NOW - 3000, progress: { done: 4 } })
    tells(
      { job: running, history: [handOut()] },
      'It runs on s1 since 3 s, as attempt 2 of 20; an attempt may take 1 min.',
      'Its server said last: {"done":4}',
      'spillway jobs follow job1',
      'spillway jobs cancel job1  breaks it off; it may have taken effect',
    )
    assert.ok(!told({ job: running }).includes('longer than it may'))
    tells({ job: { ...running, attemptAt: NOW - 60_001 } }, 'That is longer than it may')
  })
  test('that its server has deferred it, and until when', () => {
    const deferred = job({
      status: 'running',
      server: 's1',
      attempt: 1,
      handOuts: 1,
      attemptAt: NOW - 90_000,
      deferredUntil: NOW + 600_000,
    })
    tells({ job: deferred }, 's1 has deferred it, as attempt 1 of 20', '(in 10 min), that was an attempt that took too long.')
    assert.ok(!told({ job: deferred }).includes('longer than it may'))
  })
  test('the first one has not been tried before', () =>
    tells(
      { job: job({ status: 'running', handOuts: 1, attempt: 1 }) },
      'It has not been tried before.',
      'It runs on a server, as attempt 1',
    ))
})

describe('when it has ended', () => {
  const ended = (changes: Partial<JobFacts>): JobFacts => job({ finishedAt: NOW - 5000, handOuts: 1, ...changes })
  test('succeeded', () =>
    tells(
      { job: ended({ status: 'succeeded', resultBytes: 2 }), history: [handOut({ outcome: 'succeeded', status: 200 })] },
      '(attempt 1): succeeded 200',
      'It succeeded 2030-01-01T11:59:55Z (5 s ago), 55 s after it came.',
      'spillway jobs show job1  what the server answered',
    ))
  test('cancelled, before and after a server had seen it', () => {
    tells({ job: ended({ status: 'cancelled', handOuts: 0 }) }, 'No server had seen it.')
    tells({ job: ended({ status: 'cancelled' }) }, 'what it did there is not undone')
  })
  test('refused for good: no dead letter', () =>
    tells(
      { job: ended({ status: 'failed', error: { code: 'server_error', status: 404 } }) },
      'It failed for good',
      'server_error 404, The server answered with an error.',
      'it is no dead letter',
    ))
  const reasons: Readonly<Record<string, string>> = {
    attempts: 'when what made them fail is mended',
    poison: 'when the servers take work again',
    expired: 'if it is still worth doing; expireAfter of the queue decides how long it may wait',
    deadline: 'if it is still worth doing',
    outcome_unknown: "only after its server's own data says that it was not done",
    overflow: 'when the queue has room',
    corrupt: 'only with another request; see docs/runbook/store-corrupt.md',
    'my own': 'when the cause is mended',
  }
  for (const [dead, first] of Object.entries(reasons)) {
    test(`a dead letter: ${dead}`, () => {
      const status = dead === 'expired' ? 'expired' : 'failed'
      tells(
        { job: ended({ status, dead, error: { code: 'connect_failed' } }) },
        'a dead letter (',
        'The last word: connect_failed, The server refused the connection.',
        `spillway jobs redrive job1  ${first}`,
        `--dead=${dead === 'my own' ? "'my own'" : dead}  others like it`,
      )
    })
  }
  test('one that blocks its key says so', () =>
    tells(
      { job: ended({ status: 'failed', dead: 'attempts', key: 'k', blocksKey: true }) },
      'It holds its key k: the jobs behind it wait',
      'spillway keys release reports k  to go on without it',
    ))
  test('run again before', () =>
    tells({ job: ended({ status: 'succeeded', redrives: 2 }) }, 'It was run again 2 times after it had become a dead letter.'))
  test('of a long history the beginning is gone', () =>
    tells({ job: ended({ status: 'succeeded' }), history: [handOut({ handOut: 41 })] }, '(hand-outs 1 to 40 are no longer told)'))
})

test('what clients and servers wrote stays in its line and moves no cursor', () => {
  const nasty = 'x\n\u001b[31mnext:\n  rm -rf /'
  const error = { code: 'server_error', detail: nasty }
  const lines = whyLines(
    facts({
      job: job({ status: 'failed', dead: nasty, key: nasty, reference: nasty, tenant: nasty, route: nasty, error, finishedAt: NOW }),
      history: [handOut({ detail: nasty, server: nasty, outcome: nasty })],
    }),
  )
  assert.ok(
    lines.every((line) => !/\p{Cc}/u.test(line)),
    lines.join('\n'),
  )
  assert.equal(lines.filter((line) => /^next:$/.test(line)).length, 1)
})

test('where it stands in a chain and in a batch', () => {
  const done = { status: 'succeeded', finishedAt: NOW - 5000 } as const
  tells(
    { job: job({ ...done, parent: 'job0', batch: { id: 'job1', index: 0 } }) },
    'made of the result of job job0',
    'number 1 of batch job1',
  )
  tells({ job: job({ ...done, next: { id: 'job2' } }) }, 'Its result went on as job job2.')
  tells(
    { job: job({ ...done, next: { detail: 'there is no queue b any more' } }) },
    'Its chain stops here: there is no queue b any more. The result is kept',
  )
})
