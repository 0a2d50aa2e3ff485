/** A store with a damaged record: told to whoever watches and to whoever feeds it, while everything else in it goes on. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ChildGateway, startGateway } from '../support/child-gateway.ts'
import { ask } from '../support/http-client.ts'
import { startTestServer } from '../support/test-server.ts'

async function submit(gateway: ChildGateway): Promise<string> {
  const answer = await ask(`${gateway.url}/work`, { method: 'POST', body: 'x', headers: { 'Spillway-Delay': '1s' } })
  assert.equal(answer.status, 202)
  return String(answer.headers.location)
}

/** Turns the first job's record into one that its checksum does not fit. */
function damageFirst(file: string): void {
  const db = new DatabaseSync(file)
  assert.equal(db.prepare('UPDATE jobs SET crc = crc + 1 WHERE seq = (SELECT min(seq) FROM jobs)').run().changes, 1)
  db.close()
}

test('a damaged record is told as an event and by /readyz, its job does not run, and the others do', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-damage-'))
  const server = await startTestServer()
  const config: ConfigFile = { pools: { api: [`http://127.0.0.1:${server.port}`] }, routes: [{ match: 'POST /work', mode: 'queue' }] }
  const first = await startGateway(config, { folder })
  const jobs = [await submit(first), await submit(first)]
  await first.kill()
  assert.equal(server.received.length, 0)
  damageFirst(join(folder, 'data', 'store.db'))

  const second = await startGateway(config, { folder })
  try {
    const result = await ask(`${second.url}${jobs[1]}/result?wait=30s`)
    assert.deepEqual([result.status, result.text], [200, 'done'])
    const ready = await ask(`${second.adminUrl}/readyz`)
    assert.deepEqual([ready.status, ready.text], [503, 'store corrupt\n'])
    assert.equal((await ask(`${second.adminUrl}/healthz`)).status, 200)
    assert.ok(second.of('store-corrupt').some(({ what }) => /^job \w+: .* put aside and will not run$/.test(String(what))))
    assert.equal((await ask(`${second.url}${jobs[0]}`)).status, 404)
    assert.equal(server.received.length, 1)
  } finally {
    await second.kill()
    await server.kill()
    rmSync(folder, { recursive: true })
  }
})
