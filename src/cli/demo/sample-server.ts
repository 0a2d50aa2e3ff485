/**
 * A server of the demo: an ordinary node:http server that knows nothing of Spillway. All it does for progress is to POST JSON to the URL
 * that came with the request. Started by the demo with its name, a port and the data folder; a process of its own, so that it can be killed.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

const WORK_STEPS = 6
const STEP_MS = 1000
const BODY_CHARS_MAX = 1024 * 1024

const [name = 'a', port = '0', dataFolder = '.'] = process.argv.slice(2)
const busyFile = join(dataFolder, 'busy')

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(value)}\n`)
}

async function readBody(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request) {
    text += String(chunk)
    if (text.length > BODY_CHARS_MAX) throw new Error('the body is too large')
  }
  return text
}

/** JSON as data, anything else as text. */
function readInput(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return text
  }
}

async function reportProgress(url: string | undefined, progress: unknown): Promise<void> {
  if (url === undefined) return
  try {
    const headers = { 'content-type': 'application/json' }
    await fetch(url, { method: 'POST', headers, body: JSON.stringify(progress), signal: AbortSignal.timeout(STEP_MS) })
  } catch {
    // Progress is a courtesy: the work goes on without it.
  }
}

function isBusyFileOurs(): boolean {
  try {
    return readFileSync(busyFile, 'utf8').trim() === String(process.pid)
  } catch {
    return false
  }
}

let working = 0

/** Six seconds of pretend work, with a file that says which process to kill. */
async function makeReport(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const input = readInput(await readBody(request))
  const reportUrl = request.headers['spillway-report']
  working++
  writeFileSync(busyFile, `${process.pid}\n`)
  try {
    for (let step = 1; step <= WORK_STEPS && !response.destroyed; step++) {
      await new Promise((resolve) => setTimeout(resolve, STEP_MS))
      if (step < WORK_STEPS) {
        void reportProgress(typeof reportUrl === 'string' ? reportUrl : undefined, {
          percent: Math.round((100 * step) / WORK_STEPS),
          server: name,
        })
      }
    }
    sendJson(response, 200, { report: input, server: name, pid: process.pid })
  } finally {
    working--
    if (working === 0 && isBusyFileOurs()) rmSync(busyFile, { force: true })
  }
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const route = `${request.method ?? ''} ${(request.url ?? '').split('?')[0] ?? ''}`
  if (route === 'GET /healthz') response.writeHead(204).end()
  else if (route === 'GET /hello') sendJson(response, 200, { hello: 'from one of three servers', server: name, pid: process.pid })
  else if (route === 'POST /reports') await makeReport(request, response)
  else if (route === 'POST /orders') sendJson(response, 200, { order: readInput(await readBody(request)), server: name, pid: process.pid })
  else sendJson(response, 404, { error: `there is no ${route} here` })
}

const server = createServer((request, response) => {
  answer(request, response).catch((error: unknown) => {
    if (!response.headersSent) sendJson(response, 500, { error: String(error) })
  })
})
server.listen(Number(port), '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }))

// Whoever started this process is gone.
process.on('disconnect', () => process.exit(0))
