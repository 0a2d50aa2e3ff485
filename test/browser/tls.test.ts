/** A browser over TLS: it loads a page, and follows its own rules on the same origin. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NO_BROWSER, startBrowser } from '../support/browser.ts'
import { freePort } from '../support/programs.ts'
import { tlsScene } from '../support/tls-scene.ts'

test('a browser is sent from http to https, loads the page there, and opens connections that it keeps', { skip: NO_BROWSER }, async () => {
  const port = await freePort()
  const more = [{ address: '127.0.0.1:0', redirect: { port } }]
  await using all = await tlsScene({}, { listener: { address: `127.0.0.1:${port}` }, more })
  all.server.handle = (received, response) => {
    if (received.url === '/')
      return void response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>over TLS</title>')
    response.end(received.headers['x-forwarded-proto'])
  }
  await using browser = await startBrowser()
  const page = await browser.newPage({ ignoreHTTPSErrors: true })
  await page.goto(`http://localhost:${all.rig.gateway.listeners[1]?.port}/`)
  assert.equal(page.url(), `https://localhost:${port}/`)
  assert.equal(await page.title(), 'over TLS')
  const told = await page.evaluate(async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, async (_, n) => (await fetch(`/${n}`)).text()))
    return [...new Set(answers)]
  })
  assert.deepEqual(told, ['https'])
  const handshakes = await Promise.all(
    ['done', 'resumed'].map((outcome) => all.metric('spillway_tls_handshakes_total', `outcome="${outcome}"`)),
  )
  assert.ok(handshakes.reduce((sum, count) => sum + count, 0) < 21, handshakes.join())
})
