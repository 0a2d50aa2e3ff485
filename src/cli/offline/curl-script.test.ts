/** The parts of the script that a real shell has to get right; what arrives at a server is tested in `test/integration/cli-export.test.ts`. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { scriptHead, scriptJob, scriptTail } from './curl-script.ts'
import type { ExportedJob } from './exported-job.ts'

const NOW = 1_800_000_000_000

function job(changes: Partial<ExportedJob> = {}): ExportedJob {
  return {
    ...{ id: '0aks1wyrm00', queue: 'q', route: 'r', status: 'queued', attempt: 0, attempts: 3, handOuts: 0, priority: 0, submittedAt: NOW },
    ...{ sendOnce: false, method: 'POST' },
    request: { method: 'POST', target: '/', headers: [], body: Buffer.alloc(0) },
    ...changes,
  }
}

/** The script with `curl` replaced by what prints its arguments and its input; `date` stands still. */
function dryRun(
  jobs: readonly ExportedJob[],
  environment: Record<string, string> = {},
): { readonly out: Buffer; readonly code: number | null } {
  const parts = [
    scriptHead({ source: 'x', version: '1', now: NOW }),
    ...jobs.map((each, i) => scriptJob(each, i + 1, 'http://s', NOW)),
    scriptTail(),
  ]
  const printer =
    'curl() { for a in "$@"; do printf "%s\\0" "$a" >&2; case "$a" in @-) cat >&2 ;; esac; done; printf 204; }\ndate() { echo 1800000000; }\n'
  const script = parts.join('').replace('set -u\n', `set -u\n${printer}`)
  const { status, stdout, stderr } = spawnSync('sh', ['-s'], { input: script, env: { PATH: process.env['PATH'] ?? '', ...environment } })
  return { out: Buffer.concat([stdout, stderr]), code: status }
}

test('any header value and any body reach curl as they are', () => {
  const value = fc.string({
    unit: fc
      .integer({ min: 0x20, max: 0xff })
      .filter((code) => code !== 0x7f)
      .map((code) => String.fromCharCode(code)),
    maxLength: 40,
  })
  fc.assert(
    fc.property(
      value,
      fc.oneof(
        fc.uint8Array({ maxLength: 300 }),
        fc.string({ unit: 'grapheme', maxLength: 100 }).map((text) => Buffer.from(text)),
      ),
      (header, body) => {
        const trimmed = header.trim()
        const { out, code } = dryRun([job({ request: { method: 'POST', target: '/', headers: ['X-Odd', trimmed], body } })])
        assert.equal(code, 0)
        assert.ok(out.includes(Buffer.from(trimmed === '' ? 'X-Odd;\0' : `X-Odd: ${trimmed}\0`, 'latin1')))
        assert.ok(body.length === 0 || out.includes(Buffer.from(body)))
      },
    ),
    { numRuns: 60 },
  )
})

test('no text of a job can break out of its comment', () => {
  const nasty = 'a\nrm -rf x\r\u2028touch y'
  const text = scriptJob(job({ key: nasty, reference: nasty, error: { code: 'c', detail: nasty }, dead: nasty, queue: nasty }), 1, '', NOW)
  assert.equal(text.split(/[\n\r\u2028]/).filter((line) => /^(rm|touch)/.test(line)).length, 0)
})

test('jobs that are not due, or behind a blocked key, are left out until somebody asks for them', () => {
  const jobs = [job({ notBefore: NOW + 60_000 }), job({ keyHeldBy: '0aks1wyrm0z' }), job({ notBefore: NOW + 60_000, handOuts: 1 })]
  const plain = dryRun(jobs)
  assert.equal(plain.code, 3)
  assert.match(
    plain.out.toString(),
    /1 left out: it is not due yet\n2 left out: job 0aks1wyrm0z failed and holds its key\n3 204\n1 sent\nleft out: 1 2\n/,
  )
  const all = dryRun(jobs, { LATER: '1', BLOCKED: '1' })
  assert.deepEqual([all.code, /3 sent/.test(all.out.toString())], [0, true])
})

test('without a known server it stops before it sends anything', () => {
  const script = `${scriptHead({ source: 'x', version: '1', now: NOW })}${scriptJob(job(), 1, '', NOW)}`
  const { status, stderr } = spawnSync('sh', ['-s'], { input: script })
  assert.equal(status, 1)
  assert.match(stderr.toString(), /no server is known for its queue; name one with TO/)
})
