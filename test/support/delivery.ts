/** One job, heard of by a client that is cut off again and again: what every way of delivery has to stand. */
import assert from 'node:assert/strict'
import { type CuttingLine, startCuttingLine } from './cutting-line.ts'
import { ask } from './http-client.ts'
import { type RouteRig, sendJson, startRouteRig } from './route-rig.ts'
import { until } from './until.ts'

export interface Told {
  readonly event: string
  readonly version: number
  readonly status: string
  readonly progress?: number
}

/** A client of some kind that listens to one job. */
export interface Listener {
  /** As they came. */
  readonly told: readonly Told[]
  /** It has stopped by itself, for good. */
  readonly stopped: () => boolean | Promise<boolean>
  readonly leave: () => void | Promise<void>
}

/** `url`: of the job, over a line that cuts. */
export type Listen = (url: string) => Listener | Promise<Listener>

export interface DeliveryParts {
  readonly rig: RouteRig
  readonly line: CuttingLine
}

export interface DeliveryOptions {
  /** A client that cannot say what it has seen is told the newest again when it comes back. */
  readonly toldAgain?: boolean
  /** The origin of the page that it is in. */
  readonly cors?: string
}

/** From the request to the end, with cuts before, between and without news. */
export async function deliver(listen: Listen, options: DeliveryOptions = {}): Promise<void> {
  await using rig = await startRouteRig({
    jobs: { heartbeat: '200ms' },
    ...(options.cors === undefined ? {} : { cors: { origins: [options.cors] } }),
  })
  await using line = await startCuttingLine(rig.url)
  const { links } = (await ask(`${rig.url}/reports`, { method: 'POST', body: '1' })).json() as { links: { self: string } }
  const response = await rig.nextOwed()
  const listener = await listen(`${line.url}${links.self}`)
  try {
    const came = (): number => rig.line.passed.filter(({ method, path }) => method === 'GET' && path.startsWith(links.self)).length
    const untilTold = (what: string, is: (last: Told) => boolean): Promise<void> =>
      until(
        () => `${what} is told, after ${JSON.stringify(listener.told)}`,
        () => listener.told.some(is),
      )
    await untilTold('running', ({ status }) => status === 'running')
    await rig.report(1)
    await untilTold('1', ({ progress }) => progress === 1)
    // With news while it is away.
    line.cutAll()
    await rig.report(2)
    await untilTold('2', ({ progress }) => progress === 2)
    // With none.
    const before = came()
    line.cutAll()
    await until('it has come back', () => came() > before)
    await rig.report(3)
    await untilTold('3', ({ progress }) => progress === 3)
    // With the end.
    line.cutAll()
    sendJson(response, 200, 'done')
    await untilTold('the end', ({ event }) => event === 'end')
    await until('it stops by itself', () => listener.stopped())
    const asked = came()
    check(listener.told, options)
    const result = await ask(`${rig.url}${links.self}/result`)
    assert.equal(result.text, '"done"')
    assert.equal(came(), asked + 1, 'nobody asks any more but we')
  } finally {
    await listener.leave()
  }
}

function check(told: readonly Told[], { toldAgain = false }: DeliveryOptions): void {
  const versions = told.map(({ version }) => version)
  const once = toldAgain ? versions.filter((version, i) => version !== versions[i - 1]) : versions
  assert.deepEqual(
    once,
    [...new Set(versions)].sort((a, b) => a - b),
    'in order, and none twice',
  )
  const progress = told.map((each) => each.progress).filter((each) => each !== undefined)
  assert.deepEqual([...new Set(progress)], [1, 2, 3])
  const last = told.at(-1)
  assert.deepEqual([last?.event, last?.status], ['end', 'succeeded'])
}
