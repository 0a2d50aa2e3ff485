/** The example that a team would copy, as a user of it sees it: in a browser, with a reload and everything killed in the middle. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Locator, Page } from 'playwright-core'
import { NO_BROWSER, startBrowser, takeScreenshot } from '../support/browser.ts'
import { startExample } from '../support/running-example.ts'
import { until } from '../support/until.ts'

const VIEW = { viewport: { width: 780, height: 400 }, colorScheme: 'light' } as const

async function make(page: Page, title: string): Promise<Locator> {
  await page.getByLabel('Title').fill(title)
  await page.getByRole('button', { name: 'Make report' }).click()
  return cardOf(page, title)
}

function cardOf(page: Page, title: string): Locator {
  return page.locator('ol li').filter({ has: page.getByRole('heading', { name: title, exact: true }) })
}

async function untilCard(card: Locator, status: string, note: RegExp = /./): Promise<void> {
  let seen = ''
  await until(
    () => `the card says ${status} and ${String(note)}, not ${seen}`,
    async () => {
      seen = `${await card.locator('.chip').textContent()}: ${await card.locator('.note').textContent()}`
      return seen.startsWith(`${status}:`) && note.test(seen)
    },
    40_000,
  )
}

async function percentOf(card: Locator): Promise<number> {
  return await card.locator('progress').evaluate((bar: { value: number }) => bar.value)
}

test('a report survives a reload, a killed app and a killed gateway, and the page shows how it goes', { skip: NO_BROWSER }, async () => {
  await using example = await startExample('reports', { WORK_MS: '5000' })
  await using browser = await startBrowser()
  const page = await browser.newPage(VIEW)
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(String(error)))
  await page.goto(example.url)
  let card = await make(page, 'Sales Q3')
  await untilCard(card, 'running', /Reading orders on app [ab], \d+ %/)
  await until('it has come some way', async () => (await percentOf(card)) >= 30)

  await page.reload()
  card = cardOf(page, 'Sales Q3')
  await untilCard(card, 'running', / on app [ab], \d+ %/)
  assert.ok((await percentOf(card)) >= 30, 'it has not begun again')

  const note = String(await card.locator('.note').textContent())
  example.kill(/on (app [ab])/.exec(note)?.[1] as string)
  await untilCard(card, 'running, attempt 2', / on app [ab], \d+ %/)
  await takeScreenshot(page, 'reports-attempt-2')
  await until('it has come some way again', async () => (await percentOf(card)) >= 20)
  example.kill('gateway')
  await untilCard(card, 'succeeded', /Made by app [ab], on attempt [2-9]/)
  assert.equal(await card.locator('tr').count(), 4)

  await page.reload()
  card = cardOf(page, 'Sales Q3')
  await untilCard(card, 'succeeded', /on attempt/)
  assert.equal(await page.locator('ol li').count(), 1)
  assert.deepEqual(errors, [])
})

test('several at once: each its own line, and one that is cancelled', { skip: NO_BROWSER }, async () => {
  await using example = await startExample('reports', { WORK_MS: '3000' })
  await using browser = await startBrowser()
  const page = await browser.newPage(VIEW)
  await page.goto(example.url)
  const titles = ['Sales Q2', 'Margins', 'Returns', 'Stock', 'Sales Q3']
  const cards: Locator[] = []
  for (const title of titles) cards.push(await make(page, title))
  // Four are made at once.
  await untilCard(cards[4] as Locator, 'queued', /Waiting in line|Number/)
  await untilCard(cards[2] as Locator, 'running', / on app /)
  await (cards[2] as Locator).getByRole('button', { name: 'Cancel' }).click()
  await untilCard(cards[2] as Locator, 'cancelled', /The job was cancelled/)
  await untilCard(cards[0] as Locator, 'succeeded', /Made by app [ab]\./)
  await untilCard(cards[4] as Locator, 'running', / on app /)
  await takeScreenshot(page, 'reports-several')
  for (const i of [1, 3, 4]) await untilCard(cards[i] as Locator, 'succeeded')
})
