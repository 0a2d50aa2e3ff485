/** A job's events, delivered to what browsers have: EventSource and WebSocket, from a page of another origin. */
import { test } from 'node:test'
import { NO_BROWSER, servePage, startBrowser } from '../support/browser.ts'
import { deliver, type Listen, type Told } from '../support/delivery.ts'

/** Each gets the job's address, calls `tell` with every event and `stop` when it is over for good. */
const PROGRAMS: Readonly<Record<string, string>> = {
  EventSource: `(url) => {
    const source = new EventSource(url + '/events')
    for (const name of ['status', 'progress', 'end']) source.addEventListener(name, ({ data }) => tell(data))
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) stop() }
  }`,
  WebSocket: `(url) => {
    const listen = () => {
      const socket = new WebSocket(url.replace('http', 'ws') + '/events')
      socket.onmessage = ({ data }) => { if (JSON.parse(data).event !== 'heartbeat') tell(data) }
      socket.onclose = ({ code }) => code === 1000 ? stop() : setTimeout(listen, 50)
    }
    listen()
  }`,
}

for (const [name, program] of Object.entries(PROGRAMS)) {
  test(`the ${name} of a browser`, { skip: NO_BROWSER }, async () => {
    await using origin = await servePage('<!doctype html>')
    await using browser = await startBrowser()
    const listen: Listen = async (url) => {
      const page = await browser.newPage()
      const told: Told[] = []
      let stopped = false
      await page.exposeFunction('tell', (data: string) => void told.push(JSON.parse(data) as Told))
      await page.exposeFunction('stop', () => void (stopped = true))
      await page.goto(origin.url)
      await page.evaluate(`(${program})(${JSON.stringify(url)})`)
      return { told, stopped: () => stopped, leave: () => page.close() }
    }
    await deliver(listen, { cors: origin.url, toldAgain: name === 'WebSocket' })
  })
}
