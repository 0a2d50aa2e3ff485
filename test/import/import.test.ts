/**
 * Configurations of nginx and HAProxy, imported and run beside nginx and HAProxy themselves: the same requests get the same answers, from the
 * same servers, which were asked for the same.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { ask } from '../support/http-client.ts'
import { IMPORT_CASES, type ImportCase, type ImportRequest } from './cases.ts'
import { imported, leftIn, notInstalled, type Original, Scene } from './scene.ts'

const CONFIGS = join(import.meta.dirname, 'configs')

interface Seen {
  readonly status: number
  readonly location: string | undefined
  /** Fields of the answer that configurations change. */
  readonly fields: Readonly<Record<string, unknown>>
  /** Of each server that answered: what it was asked. Of nobody: the text, where the file gives one. */
  readonly bodies: readonly string[]
}

/** `times`: as often as it takes to meet each server of a pool, whoever balances. */
async function seenOf(port: number, request: ImportRequest, times = 1): Promise<Seen> {
  const { method = 'GET', path, headers = {}, body } = request
  const answers = []
  for (let i = 0; i < times; i++) {
    answers.push(
      await ask(`http://127.0.0.1:${port}${path}`, {
        method,
        headers: { host: 'any.example', ...headers },
        ...(body !== undefined && { body }),
      }),
    )
  }
  const [first] = answers
  const bodies = [...new Set(answers.map(({ text, status }) => (status === 200 || status === 503 ? text : '')))].toSorted()
  // Whom a location names may be told with the address that was asked, as nginx does.
  const location = first?.headers.location?.replace(/^http:\/\/any\.example(:\d+)?/, '').replace(`http://shop.example:${port}`, '')
  const fields = Object.fromEntries(['x-gateway', 'x-powered-by', 'x-kind'].map((name) => [name, first?.headers[name]]))
  return { status: first?.status ?? 0, location, fields, bodies }
}

function programOf({ file }: ImportCase): Original {
  return file.endsWith('.cfg') ? 'haproxy' : 'nginx'
}

suite('an imported configuration behaves as it did', { concurrency: 2 }, () => {
  for (const row of IMPORT_CASES) {
    const program = programOf(row)
    const text = readFileSync(join(CONFIGS, row.file), 'utf8')
    test(`${row.file}, beside ${program}`, { skip: notInstalled(program) }, async () => {
      await using scene = await Scene.start()
      const { path, command } = scene.write(program, text)
      const { yaml } = await imported(path)
      const original = scene.port()
      await scene.run(command, () => ask(`http://127.0.0.1:${original}/`, { headers: { host: 'any.example' } }))
      const port = (await scene.spillway(yaml)).get(original) ?? 0
      for (const request of row.requests) {
        const [here, there] = await Promise.all([seenOf(port, request, row.times), seenOf(original, request, row.times)])
        assert.deepEqual(here, there, `${JSON.stringify(request)}\n${yaml}`)
      }
      for (const request of row.refused) assert.equal((await seenOf(port, request)).status, 503, JSON.stringify(request))
    })

    test(`${row.file}: what is not translated is told`, async () => {
      await using scene = await Scene.start()
      const { told, code } = await imported(scene.write(program, text).path)
      assert.deepEqual(leftIn(told), row.left.toSorted(), told)
      assert.equal(code, row.left.length + row.refused.length === 0 ? 0 : 1, told)
    })
  }
})
