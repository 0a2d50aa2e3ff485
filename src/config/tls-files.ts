/** Certificates and keys as files: read, and found to belong together, before anything is served with them. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { EpochMillis } from '../lib/units.ts'

/** Absolute paths. */
export interface CertificateFiles {
  /** PEM: the certificate, then those that lead to its authority. */
  readonly cert: string
  readonly key: string
}

export interface CertificateFacts {
  /** DNS names; the common name, where there is nothing else. */
  readonly names: readonly string[]
  /** `rsa`, `ec` … */
  readonly keyKind: string
  readonly notBefore: EpochMillis
  readonly notAfter: EpochMillis
}

export interface CertificatePair {
  readonly certPem: string
  readonly keyPem: string
  readonly facts: CertificateFacts
}

/** What is wrong with which of the files. `unreadable`: this user may not read it, another one may. */
export interface WrongFile {
  readonly wrong: string
  readonly of: 'cert' | 'key' | 'ca'
  readonly unreadable?: true
}

export function readPair({ cert, key }: CertificateFiles): CertificatePair | WrongFile {
  const certPem = readText(cert, 'cert')
  if (typeof certPem !== 'string') return certPem
  const certificates = certificatesIn(certPem)
  const [leaf] = certificates
  if (leaf === undefined) return { wrong: `${cert} holds no certificate in PEM`, of: 'cert' }
  const keyPem = readText(key, 'key')
  if (typeof keyPem !== 'string') return keyPem
  const privateKey = privateKeyIn(keyPem)
  if (typeof privateKey === 'string') return { wrong: `${key} ${privateKey}`, of: 'key' }
  if (!leaf.checkPrivateKey(privateKey)) {
    const isOther = certificates.some((other) => other.checkPrivateKey(privateKey))
    const hint = isOther ? '; its certificate must stand first in that file' : ''
    return { wrong: `${key} is not the key of the certificate in ${cert}${hint}`, of: 'key' }
  }
  return { certPem, keyPem, facts: factsOf(leaf, privateKey) }
}

/** PEM, at least one certificate. */
export function readAuthorities(file: string): string | WrongFile {
  const pem = readText(file, 'ca')
  if (typeof pem !== 'string') return pem
  return certificatesIn(pem).length > 0 ? pem : { wrong: `${file} holds no certificate in PEM`, of: 'ca' }
}

/** What is wrong with a certificate's time; undefined: nothing. */
export function timeProblem({ notBefore, notAfter }: CertificateFacts, now: EpochMillis): string | undefined {
  if (notAfter <= now) return `expired at ${new Date(notAfter).toISOString()}`
  return notBefore > now ? `is not valid before ${new Date(notBefore).toISOString()}` : undefined
}

function readText(file: string, of: WrongFile['of']): string | WrongFile {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return { wrong: `there is no file ${file}`, of }
    if (code === 'EISDIR') return { wrong: `${file} is a folder`, of }
    if (code === 'EACCES' || code === 'EPERM') return { wrong: `this user may not read ${file}`, of, unreadable: true }
    return { wrong: `${file} cannot be read: ${(error as Error).message}`, of }
  }
}

/** One that is damaged ends the list: those before it are of no use without it. */
function certificatesIn(pem: string): X509Certificate[] {
  try {
    const blocks = pem.match(/-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[\s\S]*?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g) ?? []
    return blocks.map((block) => new X509Certificate(block))
  } catch {
    return []
  }
}

/** Says nothing of what it read: it is a secret. */
function privateKeyIn(pem: string): KeyObject | string {
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(pem))
    return 'is encrypted; decrypt it with: openssl pkey -in … -out …'
  try {
    return createPrivateKey(pem)
  } catch {
    return 'holds no private key in PEM'
  }
}

function factsOf(leaf: X509Certificate, key: KeyObject): CertificateFacts {
  const dns = dnsNames(leaf.subjectAltName ?? '')
  const commonName = /^CN=(.+)$/m.exec(leaf.subject)?.[1]
  const names = dns.length > 0 || leaf.subjectAltName !== undefined || commonName === undefined ? dns : [commonName]
  return {
    names,
    keyKind: key.asymmetricKeyType ?? 'unknown',
    notBefore: leaf.validFromDate.getTime(),
    notAfter: leaf.validToDate.getTime(),
  }
}

/** Of `DNS:a.example, IP Address:10.0.0.1`; a name that is none is in quotes, and is left out. */
function dnsNames(subjectAltName: string): string[] {
  return subjectAltName.split(', ').flatMap((one) => (/^DNS:[^"\s]+$/.test(one) ? [one.slice(4)] : []))
}
