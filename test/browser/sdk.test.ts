/** The SDK in a browser: from a page of another origin than the gateway's, by each transport; and the React hooks. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildSync } from 'esbuild'
import type { Page } from 'playwright-core'
import { createElement } from 'react'
import { renderToString } from 'react-dom/server'
import { useJob, useRequest } from '../../src/client/react/react.ts'
import { NO_BROWSER, type ServedPage, servePage, startBrowser } from '../support/browser.ts'
import { type RouteRig, sendJson, startRouteRig } from '../support/route-rig.ts'
import { until } from '../support/until.ts'

/** A page that runs the program. */
async function startPages(program: string): Promise<ServedPage> {
  const stdin = { contents: program, resolveDir: import.meta.dirname }
  const define = { 'process.env.NODE_ENV': '"production"' }
  const [bundle] = buildSync({ stdin, bundle: true, format: 'esm', target: 'es2022', define, write: false }).outputFiles
  const head = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
  return await servePage(`${head}<div id="root"></div><script type="module">${bundle?.text}</script>`)
}

async function untilSaid(page: Page, what: string): Promise<void> {
  let said = ''
  await until(
    () => `the page says ${what}, not ${said}`,
    async () => (said = String(await page.locator('#root').textContent())).includes(what),
  )
}

const PROGRAM = `
import { follow, request } from 'spillway/client'
const [gateway, transport, kept] = JSON.parse(decodeURIComponent(location.hash.slice(1)))
const root = document.getElementById('root')
const say = (text) => { root.textContent += text + '; ' }
const told = { transport, onStatus: ({ status }) => say(status), onProgress: (progress) => say('progress ' + progress) }
const post = { method: 'POST', body: '{"title":"Q3"}', headers: { 'content-type': 'application/json', authorization: 'Bearer me' } }
const asked = kept ? follow(kept, told) : request(gateway + '/reports', { ...post, ...told })
asked.job.then((job) => { window.kept = job.url })
asked.then(async (response) => say('answer ' + response.status + ' ' + await response.text()), (error) => say('error ' + error))
`

async function startOtherOrigin(): Promise<{
  readonly rig: RouteRig
  readonly stack: AsyncDisposableStack
  readonly pages: ServedPage
}> {
  const stack = new AsyncDisposableStack()
  const pages = stack.use(await startPages(PROGRAM))
  const rig = stack.use(await startRouteRig({ cors: { origins: [pages.url] }, jobs: { heartbeat: '200ms' } }))
  return { rig, stack, pages }
}

for (const transport of ['auto', 'sse', 'long-poll', 'poll'] as const) {
  test(`from a page of another origin, by ${transport}, over a reload`, { skip: NO_BROWSER }, async () => {
    const { rig, stack, pages } = await startOtherOrigin()
    await using _ = stack
    await using browser = await startBrowser()
    const page = await browser.newPage()
    const open = (kept: unknown): Promise<unknown> =>
      page.goto(`${pages.url}/${kept === null ? '' : '?again'}#${encodeURIComponent(JSON.stringify([rig.url, transport, kept]))}`)
    await open(null)
    await untilSaid(page, 'running')
    const response = await rig.nextOwed()
    await open(await page.evaluate('window.kept'))
    await untilSaid(page, 'running')
    await rig.report(50)
    await untilSaid(page, 'progress 50')
    sendJson(response, 201, { made: true })
    await untilSaid(page, 'answer 201 {"made":true}')
    assert.equal(rig.server.received.length, 1)
    assert.equal(rig.server.received[0]?.headers['authorization'], 'Bearer me')
    const streamed = rig.line.passed.some(({ method, path }) => method === 'GET' && path.endsWith('/events'))
    assert.equal(streamed, transport === 'auto' || transport === 'sse')
  })
}

const MANY = `
import { request } from 'spillway/client'
const gateway = decodeURIComponent(location.hash.slice(1))
const root = document.getElementById('root')
window.send = () => request(gateway + '/reports', { method: 'POST', body: '1' }).then((response) => { root.textContent += response.status + ';' })
for (let i = 0; i < 9; i++) send()
`

test('many jobs of one page leave it connections for other requests', { skip: NO_BROWSER }, async () => {
  await using pages = await startPages(MANY)
  await using rig = await startRouteRig({ cors: { origins: [pages.url] }, queues: { reports: { concurrency: 10 } } })
  await using browser = await startBrowser()
  const page = await browser.newPage()
  await page.goto(`${pages.url}/#${encodeURIComponent(rig.url)}`)
  await until('all run, and each is followed', () => {
    const followed = rig.line.passed.filter(({ method, path }) => method === 'GET' && path.includes('/jobs/'))
    return rig.server.received.length === 9 && new Set(followed.map(({ path }) => path.split('/')[3])).size === 9
  })
  // A browser has six connections to one address (HTTP/1.1). Were they all held by streams, this would wait for the end of one.
  await page.evaluate('void send()')
  await until('another one runs', () => rig.server.received.length === 10)
  for (let i = 0; i < 10; i++) sendJson(await rig.nextOwed(), 200, 1)
  await untilSaid(page, '200;'.repeat(10))
})

const REACT = `
import { createElement, useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { useJob, useRequest } from 'spillway/react'

const gateway = decodeURIComponent(location.hash.slice(1))

function Shown({ job }) {
  const [text, setText] = useState('')
  useEffect(() => { job.response ? job.response.clone().text().then(setText) : setText("") }, [job.response])
  return [job.phase, job.document?.status, job.progress, job.response?.status, text].join(' ')
}

function Kept({ url }) {
  return createElement('p', { id: 'kept' }, createElement(Shown, { job: useJob(url) }))
}

function App() {
  const job = useRequest({ transport: 'sse' })
  const [shown, setShown] = useState(true)
  const [forgotten, setForgotten] = useState(false)
  return createElement('div', null,
    createElement('button', { id: 'send', onClick: () => job.send(gateway + '/reports', { method: 'POST', body: 'x' }) }, 'send'),
    createElement('button', { id: 'cancel', onClick: job.cancel }, 'cancel'),
    createElement('button', { id: 'forget', onClick: () => setForgotten(true) }, 'forget'),
    createElement('button', { id: 'toggle', onClick: () => setShown(!shown) }, 'toggle'),
    createElement('p', { id: 'sent' }, createElement(Shown, { job })),
    shown && createElement(Kept, { url: forgotten ? undefined : job.url }))
}
createRoot(document.getElementById('root')).render(createElement(App))
`

test('the React hooks show a request and a job that was kept, and end their waiting with their component', {
  skip: NO_BROWSER,
}, async () => {
  await using pages = await startPages(REACT)
  await using rig = await startRouteRig({ cors: { origins: [pages.url] } })
  await using browser = await startBrowser()
  const page = await browser.newPage()
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(String(error)))
  const untilShown = async (id: string, text: string): Promise<void> => {
    await until(
      () => `#${id} shows ${text}`,
      async () => String(await page.locator(`#${id}`).textContent()).trim() === text,
    )
  }
  const watchers = async (): Promise<string | undefined> =>
    /^spillway_job_watchers (\d+)$/m.exec(await (await fetch(`${rig.adminUrl}/metrics`)).text())?.[1]

  await page.goto(`${pages.url}/#${encodeURIComponent(rig.url)}`)
  await untilShown('sent', 'idle')
  await untilShown('kept', 'idle')
  await page.click('#send')
  await untilShown('sent', 'waiting running')
  await untilShown('kept', 'waiting running')
  await rig.report(50)
  await untilShown('sent', 'waiting running 50')
  await untilShown('kept', 'waiting running 50')
  await until('both listen', async () => (await watchers()) === '2')
  await page.click('#toggle')
  await until('one has left', async () => (await watchers()) === '1')
  sendJson(await rig.nextOwed(), 200, 'done')
  await untilShown('sent', 'answered succeeded 50 200 "done"')
  await page.click('#toggle')
  await untilShown('kept', 'answered succeeded 50 200 "done"')
  await page.click('#forget')
  await untilShown('kept', 'idle')

  const untilBegins = (text: string): Promise<void> =>
    until(`it begins with ${text}`, async () => String(await page.locator('#sent').textContent()).startsWith(text))
  await page.click('#send')
  await untilBegins('waiting running')
  await page.click('#cancel')
  await untilBegins('answered cancelled')
  await rig.nextOwed()

  rig.line.fault = ({ path }) => (path === '/reports' ? 'lose-request' : undefined)
  await page.click('#send')
  await untilBegins('lost')
  assert.deepEqual(errors, [])
})

test('on a server the hooks render what they begin with, and ask nothing', () => {
  const App = (): string => `${useRequest().phase} ${useJob('http://127.0.0.1:1/_spillway/jobs/a.b').phase}`
  assert.equal(renderToString(createElement(App)), 'idle idle')
})
