/** The example with a streamed answer, as a user of it sees it: in a browser, with a reload and the answering app killed in the middle. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Locator, Page } from 'playwright-core'
import { NO_BROWSER, startBrowser, takeScreenshot } from '../support/browser.ts'
import { startExample } from '../support/running-example.ts'
import { until } from '../support/until.ts'

const VIEW = { viewport: { width: 780, height: 420 }, colorScheme: 'light' } as const
const WHOLE = /^You asked: “(.+)” A request that finds no server .* for the whole of it\. \(app [ab]\)$/

async function ask(page: Page, question: string): Promise<Locator> {
  await page.getByLabel('Question').fill(question)
  await page.getByRole('button', { name: 'Ask' }).click()
  return cardOf(page, question)
}

function cardOf(page: Page, question: string): Locator {
  return page.locator('ol li').filter({ has: page.getByRole('heading', { name: question, exact: true }) })
}

async function textOf(card: Locator): Promise<string> {
  return (await card.locator('.answer').textContent()) ?? ''
}

async function untilSaid(card: Locator, status: string): Promise<void> {
  await until(`the card says ${status}`, async () => (await card.locator('.chip').textContent()) === status, 40_000)
}

test('an answer that is streamed survives a reload and a killed app, and is whole at the end', { skip: NO_BROWSER }, async () => {
  await using example = await startExample('answers', { WORD_MS: '60' })
  await using browser = await startBrowser()
  const page = await browser.newPage(VIEW)
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(String(error)))
  await page.goto(example.url)
  const first = await ask(page, 'Is it there?')
  await untilSaid(first, 'answering')
  await until('some of it is there, and not all', async () => (await textOf(first)).length > 60)
  const before = await textOf(first)
  assert.doesNotMatch(before, WHOLE)

  await page.reload()
  let card = cardOf(page, 'Is it there?')
  await until('what was there is there again', async () => (await textOf(card)).startsWith(before))
  await untilSaid(card, 'answered')
  assert.match(await textOf(card), WHOLE)

  card = await ask(page, 'And if it breaks off?')
  await until('it has begun', async () => (await textOf(card)).length > 60)
  for (const app of ['app a', 'app b']) example.kill(app)
  await untilSaid(card, 'once more')
  await until('another one answers', async () => (await textOf(card)).length > 100)
  await takeScreenshot(page, 'answers')
  await untilSaid(card, 'answered')
  assert.match(await textOf(card), WHOLE)

  await page.reload()
  for (const question of ['Is it there?', 'And if it breaks off?']) {
    await untilSaid(cardOf(page, question), 'answered')
    assert.match(await textOf(cardOf(page, question)), WHOLE)
  }
  assert.deepEqual(errors, [])
})
