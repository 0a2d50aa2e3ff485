/**
 * Certificates for tests, made here: Node can read them but not make them, and a test needs one that has expired, one of another authority,
 * one with another name. DER (X.690) by hand, as little of it as RFC 5280 asks for.
 */
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ipBytes } from '../../src/lib/ip.ts'

export interface MadeCertificate {
  /** PEM: this one, then that of its issuer, if it has one. */
  readonly cert: string
  readonly key: string
  readonly privateKey: KeyObject
  /** The common name. */
  readonly name: string
}

export interface Wanted {
  /** The common name; the SANs are `names`. */
  readonly name?: string
  /** DNS names and IP addresses. */
  readonly names?: readonly string[]
  readonly issuer?: MadeCertificate
  readonly authority?: boolean
  readonly kind?: 'ec' | 'rsa'
  /** From now; default: a day ago, ten years. */
  readonly notBeforeMs?: number
  readonly notAfterMs?: number
}

const DAY_MS = 86_400_000

export function makeCertificate(wanted: Wanted = {}): MadeCertificate {
  const { names = [], issuer, authority = false, kind = 'ec', notBeforeMs = -DAY_MS, notAfterMs = 3650 * DAY_MS } = wanted
  const name = wanted.name ?? names[0] ?? 'test'
  const { privateKey } =
    kind === 'ec' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('rsa', { modulusLength: 2048 })
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' })
  const signer = issuer?.privateKey ?? privateKey
  const algorithm = signer.asymmetricKeyType === 'ec' ? sequence(oid('2a8648ce3d040302')) : sequence(oid('2a864886f70d01010b'), tlv(0x05))
  const now = Date.now()
  const body = sequence(
    tlv(0xa0, integer(Buffer.of(2))),
    integer(Buffer.concat([Buffer.of(1), randomBytes(15)])),
    algorithm,
    commonName(issuer?.name ?? name),
    sequence(time(now + notBeforeMs), time(now + notAfterMs)),
    commonName(name),
    spki,
    tlv(0xa3, sequence(...extensions(spki, names, authority))),
  )
  const signature = sign('sha256', body, signer)
  const der = sequence(body, algorithm, tlv(0x03, Buffer.of(0), signature))
  const own = `-----BEGIN CERTIFICATE-----\n${(der.toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n-----END CERTIFICATE-----\n`
  return {
    cert: own + (issuer === undefined ? '' : issuer.cert),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    privateKey,
    name,
  }
}

function extensions(spki: Buffer, names: readonly string[], authority: boolean): Buffer[] {
  const critical = tlv(0x01, Buffer.of(0xff))
  const extension = (id: string, isCritical: boolean, value: Buffer): Buffer =>
    sequence(oid(id), ...(isCritical ? [critical] : []), tlv(0x04, value))
  const keyId = createHash('sha1').update(spki).digest()
  const list = [extension('551d0e', false, tlv(0x04, keyId))]
  if (authority) list.push(extension('551d13', true, sequence(tlv(0x01, Buffer.of(0xff)))))
  if (names.length > 0) list.push(extension('551d11', false, sequence(...names.map(alternativeName))))
  return list
}

function alternativeName(name: string): Buffer {
  return isIP(name) === 0 ? tlv(0x82, Buffer.from(name)) : tlv(0x87, Buffer.from(ipBytes(name) as Uint8Array))
}

function commonName(name: string): Buffer {
  return sequence(tlv(0x31, sequence(oid('550403'), tlv(0x0c, Buffer.from(name)))))
}

/** UTCTime up to 2049. */
function time(at: number): Buffer {
  const digits = new Date(at).toISOString().replaceAll(/[-:T]|\.\d+/g, '')
  return tlv(0x17, Buffer.from(digits.slice(2)))
}

function oid(hex: string): Buffer {
  return tlv(0x06, Buffer.from(hex, 'hex'))
}

function integer(bytes: Buffer): Buffer {
  return tlv(0x02, bytes)
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tlv(0x30, ...parts)
}

function tlv(tag: number, ...parts: readonly Buffer[]): Buffer {
  const value = Buffer.concat(parts)
  const { length } = value
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.of(tag, ...size), value])
}

export interface CertificateFolder extends Disposable {
  readonly folder: string
  /** Writes `<file>.crt` and `<file>.key` as certbot does: beside, then renamed. */
  write(file: string, made: MadeCertificate): { readonly cert: string; readonly key: string }
  /** Any file. */
  text(file: string, text: string): string
}

export function certificateFolder(): CertificateFolder {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-tls-'))
  const text = (file: string, content: string): string => {
    const path = join(folder, file)
    writeFileSync(`${path}.new`, content)
    renameSync(`${path}.new`, path)
    return path
  }
  return {
    folder,
    text,
    write: (file, made) => ({ cert: text(`${file}.crt`, made.cert), key: text(`${file}.key`, made.key) }),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true }),
  }
}
