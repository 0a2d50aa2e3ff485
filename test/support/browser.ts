/** Chromium, as the machine has it, driven from a test. */
import { existsSync, mkdirSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'

const { CHROME_PATH = '/usr/bin/chromium', SCREENSHOTS } = process.env
const FOLDER = join(import.meta.dirname, '..', '..', 'docs', 'screenshots')

/** For `test(name, { skip }, …)`: a reason, where there is no browser. */
export const NO_BROWSER: string | false = existsSync(CHROME_PATH)
  ? false
  : `there is no browser at ${CHROME_PATH}: apt-get install chromium, or set CHROME_PATH`

export async function startBrowser(): Promise<Browser & AsyncDisposable> {
  const browser = await chromium.launch({ executablePath: CHROME_PATH, headless: true, args: ['--no-sandbox'] })
  return Object.assign(browser, { [Symbol.asyncDispose]: () => browser.close() })
}

export interface ServedPage extends AsyncDisposable {
  readonly url: string
}

/** A page of an origin of its own, whatever its path. */
export async function servePage(html: string): Promise<ServedPage> {
  const server = createServer((_, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end(html))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Only when asked for (`SCREENSHOTS=1 npm test browser`): they are committed. */
export async function takeScreenshot(page: Page, name: string): Promise<void> {
  if (SCREENSHOTS !== '1') return
  mkdirSync(FOLDER, { recursive: true })
  await page.screenshot({ path: join(FOLDER, `${name}.png`), fullPage: true, animations: 'disabled' })
}
