/** Certificates follow their files: replaced, swapped by a symbolic link, broken, expiring; and what is wrong with them is told before anything is served. */
import assert from 'node:assert/strict'
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadValue } from '../../src/config/load.ts'
import { certificateFolder, makeCertificate, type MadeCertificate } from '../support/certificates.ts'
import { ask } from '../support/http-client.ts'
import { askTls } from '../support/tls-client.ts'
import { AUTHORITY, LOCALHOST, type TlsScene, tlsScene } from '../support/tls-scene.ts'
import { until } from '../support/until.ts'

const ca = AUTHORITY.cert
const DAY_MS = 86_400_000

const named = (name: string): MadeCertificate => makeCertificate({ name, names: ['localhost'], issuer: AUTHORITY })
const shown = async ({ port }: TlsScene): Promise<string> => (await askTls(port, { ca })).shown
const told = ({ rig }: TlsScene, type: string): readonly unknown[] => rig.events.filter((event) => event.type === type)

test('a new pair is served as soon as both files are there; a connection that is open goes on', async () => {
  await using all = await tlsScene({ poll: '20ms' })
  assert.equal(await shown(all), 'localhost')
  const next = named('next')
  // As a tool does that writes one after the other, slowly.
  all.files.text('c0.crt', next.cert)
  await until('the pair that does not match is told of', () => told(all, 'certificate-refused').length === 1)
  assert.equal(await shown(all), 'localhost')
  all.files.text('c0.key', next.key)
  await until('the new one is served', async () => (await shown(all)) === 'next')
  const [refused] = told(all, 'certificate-refused') as [{ reason: string }]
  assert.match(refused.reason, /c0\.key is not the key of the certificate in .*c0\.crt/)
})

test('a symbolic link that is swapped is a change, as Kubernetes does it', async () => {
  using files = certificateFolder()
  const generation = (name: string, made: MadeCertificate): void => {
    mkdirSync(join(files.folder, name))
    writeFileSync(join(files.folder, name, 'tls.crt'), made.cert)
    writeFileSync(join(files.folder, name, 'tls.key'), made.key)
    symlinkSync(name, join(files.folder, 'data.new'))
    renameSync(join(files.folder, 'data.new'), join(files.folder, 'data'))
  }
  generation('one', named('one'))
  const certificates = [{ cert: join(files.folder, 'data', 'tls.crt'), key: join(files.folder, 'data', 'tls.key') }]
  await using all = await tlsScene({ poll: '20ms', certificates })
  assert.equal(await shown(all), 'one')
  generation('two', named('two'))
  await until('the second one is served', async () => (await shown(all)) === 'two')
})

test('files that are gone or broken change nothing, and are told of once', async () => {
  await using all = await tlsScene({ poll: '20ms' })
  all.files.text('c0.crt', 'no certificate')
  await until('it is told', () => told(all, 'certificate-refused').length === 1)
  assert.equal(await shown(all), 'localhost')
  all.files.write('c0', named('again'))
  await until('it is served', async () => (await shown(all)) === 'again')
  assert.equal(told(all, 'certificate-refused').length, 1)
  assert.equal(told(all, 'certificates-read').length >= 1, true)
})

test('a reload reads the files at once, adds certificates, and refuses what is wrong', async () => {
  await using all = await tlsScene({ poll: '1h' })
  all.files.write('c0', named('renewed'))
  const { listener } = all
  const more = all.files.write('more', makeCertificate({ names: ['api.example.com'], issuer: AUTHORITY }))
  const wanted = { ...listener, tls: { ...listener.tls, certificates: [...listener.tls.certificates, more] } }
  const outcome = await all.rig.reload({ ...all.config, listeners: [wanted] })
  assert.deepEqual(outcome.kind === 'applied' && outcome.needsRestart, [])
  assert.equal(await shown(all), 'renewed')
  assert.equal((await askTls(all.port, { ca, servername: 'api.example.com' })).shown, 'api.example.com')
  all.files.text('more.key', named('another').key)
  const refused = await all.rig.reload()
  assert.match(refused.kind === 'refused' ? refused.problems.join() : '', /listeners\[0\]\.tls\.certificates\[1\]\.key/)
  assert.equal((await askTls(all.port, { ca, servername: 'api.example.com' })).shown, 'api.example.com')
})

test('a certificate that expires soon is told of once, and shows in status and metrics', async () => {
  const soon = makeCertificate({ names: ['localhost'], issuer: AUTHORITY, notAfterMs: 3.5 * DAY_MS })
  await using all = await tlsScene({ poll: '20ms' }, { certificates: [soon, LOCALHOST] })
  const left = await all.metric('spillway_certificate_expiry_seconds', 'c0.crt')
  assert.ok(left > 3 * 86_400 && left < 4 * 86_400, String(left))
  assert.ok((await all.metric('spillway_certificate_expiry_seconds', 'c1.crt')) > 365 * 86_400)
  const status = (await ask(`${all.rig.adminUrl}/status`)).json() as unknown as { certificates: { names: string[] }[] }
  assert.deepEqual(
    status.certificates.map(({ names }) => names),
    [['localhost'], ['localhost']],
  )
  assert.equal(told(all, 'certificate-expires').length, 1)
})

function problems(tls: object, folder: string): { readonly errors: readonly string[]; readonly warnings: readonly string[] } {
  const listeners = [{ address: '127.0.0.1:8443', tls }]
  const read = loadValue({ listeners, pools: { a: ['http://127.0.0.1:1'] }, routes: [{ match: '/*' }] }, { file: 'x.yaml', folder })
  return { errors: read.ok ? [] : read.errors, warnings: read.warnings }
}

test('what is wrong with files is told by check, with the file and what it is', () => {
  using files = certificateFolder()
  const { folder } = files
  const good = files.write('good', LOCALHOST)
  const other = files.write('other', named('other'))
  const old = files.write('old', makeCertificate({ names: ['localhost'], notAfterMs: -DAY_MS }))
  const future = files.write('future', makeCertificate({ names: ['localhost'], notBeforeMs: DAY_MS }))
  const encrypted = files.text('encrypted.key', '-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n')
  const backwards = files.text('backwards.crt', AUTHORITY.cert + LOCALHOST.cert)
  const only = (pair: object): readonly string[] => problems({ certificates: [pair] }, folder).errors
  assert.deepEqual(problems({ certificates: [{ cert: 'good.crt', key: 'good.key' }] }, folder), { errors: [], warnings: [] })
  assert.match(
    String(only({ cert: good.cert, key: other.key })),
    /certificates\[0\]\.key {2}.*other\.key is not the key of the certificate in .*good\.crt/,
  )
  assert.match(String(only({ cert: 'none.crt', key: good.key })), /certificates\[0\]\.cert {2}there is no file .*none\.crt/)
  assert.match(String(only({ cert: good.key, key: good.key })), /good\.key holds no certificate in PEM/)
  assert.match(String(only({ cert: good.cert, key: good.cert })), /good\.crt holds no private key in PEM/)
  assert.match(String(only({ cert: good.cert, key: encrypted })), /encrypted\.key is encrypted/)
  assert.match(String(only({ cert: backwards, key: good.key })), /must stand first in that file/)
  assert.match(String(only({ cert: folder, key: good.key })), /is a folder/)
  assert.match(String(problems({ certificates: [old] }, folder).warnings), /old\.crt expired at 20/)
  assert.match(String(problems({ certificates: [future] }, folder).warnings), /future\.crt is not valid before 20/)
  assert.match(
    String(problems({ certificates: [good], clientAuth: { ca: 'none.pem' } }, folder).errors),
    /clientAuth\.ca {2}there is no file/,
  )
  assert.match(String(problems({ certificates: [good], ciphers: 'NO-SUCH' }, folder).errors), /ciphers {2}must be names of ciphers/)
})
