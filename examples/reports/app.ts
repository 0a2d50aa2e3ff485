/**
 * An ordinary Express app that takes seconds to make a report. It knows nothing of Spillway and imports nothing of it: run it alone and
 * `curl -d '{"title":"Q3"}' -H 'content-type: application/json' localhost:3001/reports` works as well. All it does for progress is to POST to
 * the address that comes with a request when there is one.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'

const { PORT = '3001', NAME = 'app', WORK_MS = '8000' } = process.env
const STEPS = ['Reading orders', 'Adding up', 'Comparing with last year', 'Drawing charts', 'Writing pages']
const REGIONS = ['North', 'East', 'South', 'West']
const TICKS = 20

const app = express()
app.use(express.json())
app.use(express.static(join(import.meta.dirname, 'dist')))

app.get('/healthz', (_request, response) => void response.sendStatus(204))

app.post('/reports', async (request, response) => {
  const { title = 'Untitled' } = (request.body ?? {}) as { readonly title?: string }
  const report = request.get('spillway-report')
  for (let tick = 1; tick <= TICKS; tick++) {
    await sleep(Number(WORK_MS) / TICKS)
    // Cancelled: nobody waits for it any more.
    if (response.destroyed) return
    const step = STEPS[Math.floor(((tick - 1) * STEPS.length) / TICKS)]
    if (report !== undefined) await tell(report, { percent: Math.round((100 * tick) / TICKS), step, server: NAME })
  }
  const sales = REGIONS.map((region, i) => ({ region, revenue: 20_000 + ((title.length * 7919 + i * 104_729) % 60_000) }))
  response.json({ title, sales, server: NAME, attempt: Number(request.get('spillway-attempt') ?? 1) })
})

/** A courtesy: the work goes on without it. */
async function tell(url: string, progress: unknown): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  await fetch(url, { method: 'POST', headers, body: JSON.stringify(progress), signal: AbortSignal.timeout(1000) }).catch(() => undefined)
}

app.listen(Number(PORT), '127.0.0.1')
