/**
 * An ordinary Express app that answers word by word, as language models do. It knows nothing of Spillway: run it alone, and
 * `curl -N -d '{"question":"Why?"}' -H 'content-type: application/json' localhost:3001/answers` streams as well.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'

const { PORT = '3001', NAME = 'app', WORD_MS = '120' } = process.env
const SENTENCES = [
  'A request that finds no server is written down before anybody is told that it was taken.',
  'From then on it has an address of its own, and the answer is stored while it comes.',
  'Whoever reads it may leave, come back, or watch from three places at once: the words stay in order.',
  'If this process dies in the middle, the page is told to begin anew and another one answers.',
  'So a reader never takes the half of an answer for the whole of it.',
]

const app = express()
app.use(express.json())
app.use(express.static(join(import.meta.dirname, 'dist')))

app.get('/healthz', (_request, response) => void response.sendStatus(204))

app.post('/answers', async (request, response) => {
  const { question = '' } = (request.body ?? {}) as { readonly question?: string }
  response.type('text/plain')
  for (const word of `You asked: “${question}” ${SENTENCES.join(' ')} (${NAME})`.split(/(?<= )/)) {
    response.write(word)
    await sleep(Number(WORD_MS))
    // Nobody reads it any more.
    if (response.destroyed) return
  }
  response.end()
})

app.listen(Number(PORT), '127.0.0.1')
