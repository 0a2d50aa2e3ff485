/** A gateway with a TLS listener, as people configure it, in front of a server that answers with the headers that it got. */
import type { ConfigFile } from '../../src/config/schema.ts'
import { type CertificateFolder, certificateFolder, makeCertificate, type MadeCertificate } from './certificates.ts'
import { type ConfigRig, startConfigRig } from './config-rig.ts'
import { MetricsPage } from './gateway-process.ts'
import { ask } from './http-client.ts'
import { startTestServer, type TestServer } from './test-server.ts'

export type Listener = Exclude<NonNullable<ConfigFile['listeners']>[number], string>
export type Tls = NonNullable<Listener['tls']>

export const AUTHORITY = makeCertificate({ name: 'test authority', authority: true })
export const LOCALHOST = makeCertificate({ names: ['localhost', '127.0.0.1'], issuer: AUTHORITY })

export interface TlsScene extends AsyncDisposable {
  readonly rig: ConfigRig
  readonly config: ConfigFile
  /** The first one. */
  readonly listener: Listener & { readonly tls: Tls }
  readonly port: number
  readonly server: TestServer
  readonly files: CertificateFolder
  metric(name: string, ...labels: string[]): Promise<number>
  connections(): Promise<number>
}

export async function tlsScene(
  tls: Partial<Tls> | ((files: CertificateFolder) => Partial<Tls>) = {},
  /** `more`: listeners beside it. */
  {
    certificates: made = [LOCALHOST],
    listener,
    more = [],
    config,
  }: {
    readonly certificates?: readonly MadeCertificate[]
    readonly listener?: Omit<Partial<Listener>, 'tls'>
    readonly more?: NonNullable<ConfigFile['listeners']>
    readonly config?: ConfigFile
  } = {},
): Promise<TlsScene> {
  const files = certificateFolder()
  const server = await startTestServer((received, response) => void response.end(JSON.stringify(received.headers)))
  const certificates = made.map((one, i) => files.write(`c${i}`, one))
  const asked = typeof tls === 'function' ? tls(files) : tls
  const first = { address: '127.0.0.1:0', tls: { certificates, ...asked }, ...listener }
  const whole: ConfigFile = {
    listeners: [first, ...more],
    pools: { api: [`http://127.0.0.1:${server.port}`] },
    routes: [{ match: '/*' }],
    ...config,
  }
  const rig = await startConfigRig(whole)
  const sum = async (name: string, ...labels: string[]): Promise<number> =>
    new MetricsPage((await ask(`${rig.adminUrl}/metrics`)).text).sum(name, ...labels)
  return {
    config: whole,
    listener: first,
    ...{ rig, server, files },
    port: rig.gateway.listeners[0]?.port as number,
    metric: sum,
    connections: () => sum('spillway_connections'),
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await server.kill()
      files[Symbol.dispose]()
    },
  }
}
