/** What users import: types that hold, for browsers and for Node, and a client that needs nothing but the web platform. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { gzipSync } from 'node:zlib'
import { buildSync } from 'esbuild'
import { globSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Client, createClient, follow, request, type RequestedJob, type SendResult } from 'spillway/client'
import { createWorker, type Worker } from 'spillway/worker'
import { startChild } from '../support/children.ts'
import { startQueueRig } from '../support/queue-rig.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const CLIENT = join(ROOT, 'src', 'client')

/** Imports that lead out of a folder: `node:`, packages, other folders. */
function foreignImports(files: readonly string[]): string[] {
  return files.flatMap((file) => {
    const specifiers = readFileSync(file, 'utf8').matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)
    return [...specifiers].map(([, specifier = '']) => specifier).filter((specifier) => !/^\.\/[\w-]+\.ts$/.test(specifier))
  })
}

test('the client imports nothing but its own folder', () => {
  const files = globSync(join(CLIENT, '*.ts')).filter((file) => !file.endsWith('.test.ts'))
  assert.ok(files.some((file) => file.endsWith('client.ts')))
  assert.deepEqual(foreignImports(files), [])
  // The canary: the worker does.
  assert.ok(foreignImports(globSync(join(CLIENT, 'worker', '*.ts'))).includes('node:worker_threads'))
})

/** What a page loads for this line of its own, compressed, in bytes. */
function gzippedBytes(program: string): number {
  const stdin = { contents: program, resolveDir: import.meta.dirname }
  const options = { bundle: true, minify: true, treeShaking: true, format: 'esm', target: 'es2022', write: false } as const
  const [bundle] = buildSync({ stdin, ...options }).outputFiles
  return gzipSync(bundle?.contents ?? '', { level: 9 }).length
}

test('request() costs a page less than 6 KiB', () => {
  const bytes = gzippedBytes("import { follow, request } from 'spillway/client'; globalThis.use = [follow, request]")
  assert.ok(bytes < 6144, `${bytes} bytes`)
  // The canary: the whole client is more.
  assert.ok(gzippedBytes("import { createClient, request } from 'spillway/client'; globalThis.use = [createClient, request]") > 6144)
})

function compile(lib: string, file: string): string {
  const options = [
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2022',
    '--allowImportingTsExtensions',
    '--erasableSyntaxOnly',
  ]
  const tsc = join(ROOT, 'node_modules', '.bin', 'tsc')
  const { stdout } = spawnSync(tsc, [...options, '--lib', lib, '--types', '', '--ignoreConfig', file], { encoding: 'utf8', cwd: ROOT })
  return stdout
}

test('the client compiles for a browser, where there are no types of Node', () => {
  assert.equal(compile('es2024,dom', join(CLIENT, 'client.ts')), '')
  // The canary: without a browser there is no fetch, and the worker needs Node.
  assert.match(compile('es2024', join(CLIENT, 'client.ts')), /fetch/)
  assert.match(compile('es2024,dom', join(CLIENT, 'worker', 'worker.ts')), /node:worker_threads/)
})

/** As a user of the package writes it. */
const PROGRAM = `
import { createClient, request, type RequestedJob } from 'spillway/client'
import { createWorker, type HandlerContext } from 'spillway/worker'

const [url = '', token = ''] = process.argv.slice(2)
const mail = createClient({ url, token }).queue<{ n: number }, number>('mail')
const worker = createWorker<{ n: number }, number>({
  url,
  token,
  queue: 'mail',
  wait: '100ms',
  lease: '2s',
  handler: ({ payload }, { signal }: HandlerContext) => {
    const endsAt = performance.now() + 4000
    while (performance.now() < endsAt);
    return signal.aborted ? -1 : payload.n + 1
  },
})
const sent = await mail.send({ n: 1 })
console.log(await mail.follow(sent.token).value(), (await worker.stop()).released)
const asked = request(url + '/nowhere')
const job: RequestedJob | undefined = await asked.job
console.log((await asked).status, job)
`

test('the built package has its types and runs: the thread that extends leases is found', async () => {
  await using rig = await startQueueRig()
  const folder = mkdtempSync(join(tmpdir(), 'spillway-package-'))
  try {
    const built = join(folder, 'node_modules', 'spillway')
    // What other folders of the sources lack in types is not what this is about: they are built all the same.
    spawnSync(process.execPath, [join(ROOT, 'scripts', 'build.ts'), built], { cwd: ROOT })
    symlinkSync(join(ROOT, 'node_modules', '@types'), join(folder, 'node_modules', '@types'))
    symlinkSync(join(ROOT, 'node_modules', 'undici-types'), join(folder, 'node_modules', 'undici-types'))
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(folder, 'program.ts'), PROGRAM)
    const options = ['--strict', '--module', 'nodenext', '--target', 'es2022', '--types', 'node', '--ignoreConfig']
    const compiled = spawnSync(join(ROOT, 'node_modules', '.bin', 'tsc'), [...options, 'program.ts'], { cwd: folder, encoding: 'utf8' })
    assert.equal(compiled.stdout, '')
    const child = startChild([process.execPath, join(folder, 'program.js'), rig.url, rig.token], () => undefined)
    await child.exited
    assert.equal(child.output, '2 0\n404 undefined\n')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

/** Never called: it holds when it compiles. */
export async function typesHold(client: Client): Promise<Worker> {
  const mail = client.queue<{ readonly to: string }, { readonly sent: number }>('mail')
  await mail.send({ to: 'ann' }, { delay: '5m', priority: 9 })
  // @ts-expect-error: a payload of another type
  await mail.send({ too: 'ann' })
  // @ts-expect-error: no such unit
  await mail.send({ to: 'ann' }, { delay: '5 weeks' })
  // @ts-expect-error: no such option
  await mail.send({ to: 'ann' }, { retries: 5 })
  const results: readonly SendResult[] = await mail.sendMany([{ payload: { to: 'ann' } }])
  const [first] = results
  if (first?.status === 'created') first.token.slice(1)
  // @ts-expect-error: what was refused has no token
  if (first?.status === 'refused') first.token.slice(1)
  const { jobs } = await mail.receive()
  const to: string | undefined = jobs[0]?.payload.to
  // @ts-expect-error: a result of another type
  await mail.settle([{ receipt: 'r', outcome: 'succeed', result: { sent: to } }])
  // @ts-expect-error: `reason` belongs to what failed
  await mail.settle([{ receipt: 'r', outcome: 'succeed', reason: 'r' }])
  const asked = request('https://a.example/reports', {
    method: 'POST',
    body: 'x',
    wait: '10s',
    transport: 'long-poll',
    retry: { attempts: 3 },
  })
  const job: RequestedJob | undefined = await asked.job
  const response: Response = await asked
  // @ts-expect-error: no such transport
  await request('https://a.example', { transport: 'pigeon' })
  // @ts-expect-error: perhaps there is no job
  await (await asked.job).cancel()
  const kept: RequestedJob = await follow(job?.url ?? response.url, { onProgress: (progress: unknown) => void progress }).job
  for await (const { event, version } of kept.events()) {
    const told: readonly ['status' | 'progress' | 'reset' | 'end', number] = [event, version]
    if (told[0] === 'end') break
  }
  // @ts-expect-error: what was kept is not sent again
  await follow(kept.url, { method: 'POST' })
  const sent: number = (await mail.follow('token').value()).sent
  // @ts-expect-error: a result of another type
  const text: string = (await mail.follow('token').value()).sent
  const reported: { pages: number } = await (await client.submit<{ pages: number }>('/reports', { body: `${sent}${text}` })).value()
  await client.topic<{ type: string }>('orders').publish({ type: `${reported.pages}` })
  // @ts-expect-error: a payload of another type
  await client.topic<{ type: string }>('orders').publish({ kind: 'x' })
  // @ts-expect-error: a client has an address
  createClient({ token: 'x' })
  createWorker<{ to: string }, { sent: number }>({
    url: 'http://127.0.0.1',
    queue: 'mail',
    // @ts-expect-error: a result of another type
    handler: ({ payload }) => ({ sent: payload.to }),
  })
  return createWorker({ url: 'http://127.0.0.1', queue: 'mail', handler: (job: { payload: { to: string } }) => job.payload.to })
}
