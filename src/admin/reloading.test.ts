import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Config } from '../config/config.ts'
import type { LoadResult } from '../config/load.ts'
import { systemClock } from '../ports/system.ts'
import { createTelemetry } from '../telemetry/create-telemetry.ts'
import { type Applied, Reloading } from './reloading.ts'

interface Rig {
  readonly reloading: Reloading
  /** Answers to reads that are under way, in their order. */
  readonly reads: ((loaded: LoadResult) => void)[]
  readonly applied: string[]
  readonly lines: string[]
}

const config = (name: string): LoadResult => ({ ok: true, config: { name } as Config, warnings: [] })
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function rig(apply: (read: Config) => Promise<Applied> = () => Promise.resolve({ needsRestart: [] })): Rig {
  const reads: Rig['reads'] = []
  const applied: string[] = []
  const lines: string[] = []
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: (line) => void lines.push(line) })
  const reloading = new Reloading({
    clock: systemClock,
    telemetry,
    file: 'x.yaml',
    read: () => new Promise((resolve) => void reads.push(resolve)),
    apply: (read) => {
      applied.push(read.name)
      return apply(read)
    },
  })
  return { reloading, reads, applied, lines }
}

test('one at a time; who asks while one is under way gets one that begins after it, all of them the same', async () => {
  const { reloading, reads, applied } = rig()
  const first = reloading.reload()
  const [second, third] = [reloading.reload(), reloading.reload()]
  assert.equal(second, third)
  await turn()
  assert.equal(reads.length, 1)
  reads[0]?.(config('a'))
  await first
  await turn()
  assert.deepEqual([reads.length, applied], [2, ['a']])
  const fourth = reloading.reload()
  reads[1]?.(config('b'))
  assert.equal((await second).kind, 'applied')
  await turn()
  reads[2]?.(config('c'))
  assert.equal((await fourth).kind, 'applied')
  assert.deepEqual(applied, ['a', 'b', 'c'])
})

test('what cannot be applied, or throws, is refused without its values, and the next one goes', async () => {
  let wrong: Applied | Error = { wrong: 'must be text, not "secret"' }
  const { reloading, reads, lines } = rig(() => (wrong instanceof Error ? Promise.reject(wrong) : Promise.resolve(wrong)))
  const ask = async (): Promise<unknown> => {
    const outcome = reloading.reload()
    reads.at(-1)?.(config('x'))
    const { kind, ...told } = await outcome
    return kind === 'refused' ? 'problems' in told && told.problems : kind
  }
  assert.deepEqual(await ask(), ['x.yaml  must be text, not "…"'])
  assert.deepEqual(reloading.status.refused?.problems, ['x.yaml  must be text, not "…"'])
  wrong = new Error('the store is gone')
  assert.deepEqual(await ask(), ['x.yaml  cannot be applied: the store is gone'])
  wrong = { needsRestart: ['store'] }
  assert.equal(await ask(), 'applied')
  assert.deepEqual([reloading.status.refused, reloading.status.needsRestart], [undefined, ['store']])
  assert.match(
    lines.join('\n'),
    /x\.yaml is refused[^\n]*\n[^\n]*is refused[^\n]*\nx\.yaml was read again and holds from now on; only after a restart: store/,
  )
})

test('without a file there is nothing to reload, and nothing is wrong', async () => {
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: () => undefined })
  const reloading = new Reloading({
    clock: systemClock,
    telemetry,
    file: undefined,
    read: undefined,
    apply: () => Promise.resolve({ needsRestart: [] }),
  })
  assert.equal((await reloading.reload()).kind, 'refused')
  assert.equal(reloading.status.refused, undefined)
})
