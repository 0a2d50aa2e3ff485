/**
 * The page: `request()` instead of `fetch()`, and the job's address kept for a reload. Nothing else is needed to survive lost connections, dead
 * servers and restarts of the gateway.
 */
import { follow, type FollowInit, type JobDocument, request } from 'spillway/client'

interface Kept {
  readonly title: string
  /** Made before the request is sent: a page that is loaded again before the answer came sends it again, and it is still one report. */
  readonly key: string
  /** The job's address, once there is one. A secret: whoever has it can read the report. */
  url?: string
}

interface Report {
  readonly sales: readonly { readonly region: string; readonly revenue: number }[]
  readonly server: string
  readonly attempt: number
}

const reports = JSON.parse(sessionStorage.getItem('reports') ?? '[]') as Kept[]
const keep = (): void => sessionStorage.setItem('reports', JSON.stringify(reports))

async function run(kept: Kept): Promise<void> {
  const card = new Card(kept.title)
  const told: FollowInit = {
    onStatus: (job) => card.status(job),
    onProgress: (progress) => card.progress(progress as { readonly percent: number; readonly step: string; readonly server: string }),
  }
  const body = JSON.stringify({ title: kept.title })
  const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body, idempotencyKey: kept.key, wait: 0 }
  const asked = kept.url === undefined ? request('/reports', { ...post, ...told }) : follow(kept.url, told)
  try {
    const job = await asked.job
    if (job !== undefined) {
      kept.url = job.url
      keep()
      card.onCancel = () => void job.cancel()
    }
    const response = await asked
    if (response.ok) card.report((await response.json()) as Report)
    else card.ended(response.headers.get('spillway-status') ?? 'failed', await problemOf(response))
  } catch (error) {
    card.ended('failed', String(error))
  }
}

/** Spillway says why there is no answer as a problem document (RFC 9457); what the app says is the app's affair. */
async function problemOf(response: Response): Promise<string> {
  const problem = (await response.json().catch(() => ({}))) as { readonly detail?: string }
  return problem.detail ?? `${response.status} ${response.statusText}`
}

const TEXTS: Readonly<Record<string, string>> = {
  queued: 'Waiting in line.',
  running: 'Begun.',
  retrying: 'The app went away while it worked on it. It is tried again.',
}

class Card {
  onCancel = (): void => undefined
  readonly #root: HTMLElement

  constructor(title: string) {
    const template = document.querySelector('template') as HTMLTemplateElement
    this.#root = (template.content.cloneNode(true) as DocumentFragment).firstElementChild as HTMLElement
    this.#at('h2').textContent = title
    this.#at('button').addEventListener('click', () => this.onCancel())
    this.#chip('sending', 'Sending.')
    document.querySelector('ol')?.prepend(this.#root)
  }

  status({ status, position, attempt = 1, progress }: JobDocument): void {
    // Another attempt begins at nothing.
    if (progress === undefined) this.#bar.value = 0
    const line = status === 'queued' && position !== undefined && position > 1 ? `Number ${position} in line.` : (TEXTS[status] ?? '')
    this.#chip(status, line)
    if (status === 'running' && attempt > 1) this.#at('.chip').textContent = `running, attempt ${attempt}`
  }

  progress({ percent, step, server }: { readonly percent: number; readonly step: string; readonly server: string }): void {
    this.#bar.value = percent
    this.#at('.note').textContent = `${step} on ${server}, ${percent} %`
  }

  report({ sales, server, attempt }: Report): void {
    this.#bar.value = 100
    const most = Math.max(...sales.map(({ revenue }) => revenue))
    const rows = sales.map(({ region, revenue }) => {
      const row = document.createElement('tr')
      for (const text of [region, '', revenue.toLocaleString('en')]) row.insertCell().textContent = text
      const bar = document.createElement('i')
      bar.style.width = `${(100 * revenue) / most}%`
      row.cells[1]?.append(bar)
      return row
    })
    this.#at('tbody').replaceChildren(...rows)
    this.#at('table').hidden = false
    this.#chip('succeeded', attempt === 1 ? `Made by ${server}.` : `Made by ${server}, on attempt ${attempt}.`)
  }

  ended(status: string, why: string): void {
    this.#chip(status, why)
  }

  #chip(status: string, note: string): void {
    this.#root.dataset['status'] = status
    this.#at('.chip').textContent = status
    this.#at('.note').textContent = note
  }

  get #bar(): HTMLProgressElement {
    return this.#at('progress') as HTMLProgressElement
  }

  #at(selector: string): HTMLElement {
    return this.#root.querySelector(selector) as HTMLElement
  }
}

document.querySelector('form')?.addEventListener('submit', (event) => {
  event.preventDefault()
  const title = new FormData(event.currentTarget as HTMLFormElement).get('title') as string
  const kept = { title, key: crypto.randomUUID() }
  reports.push(kept)
  keep()
  void run(kept)
})
for (const kept of reports) void run(kept)
