/** What a failed TLS connection to a server means: which error of the registry it is (RFC 9209, section 2.3), and what an operator reads. */
import type { ErrorCode } from '../errors.ts'

export interface TlsFailure {
  readonly code: Extract<ErrorCode, 'tls_certificate' | 'tls_alert' | 'tls_failed'>
  readonly detail: string
}

/** By the code of Node and OpenSSL. */
const CERTIFICATE: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet',
  CERT_REVOKED: 'its certificate is revoked',
  CERT_UNTRUSTED: 'its certificate is not trusted',
  CERT_REJECTED: 'its certificate is rejected',
  CERT_SIGNATURE_FAILURE: 'the signature of its certificate is wrong',
  CERT_CHAIN_TOO_LONG: 'its chain of certificates is too long',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed; name it, or its authority, as tls.ca',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate was issued by an authority that is not known here; name it as tls.ca',
  UNABLE_TO_GET_ISSUER_CERT: 'an issuer of its certificate is not known here; name it as tls.ca',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the issuer of its certificate is not known here; name it as tls.ca',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the issuer of its certificate is not known here, or it sends no intermediate certificates',
  INVALID_CA: 'an issuer of its certificate is no authority',
  INVALID_PURPOSE: 'its certificate is not for servers',
  PATH_LENGTH_EXCEEDED: 'its chain of certificates is longer than an issuer allows',
  HOSTNAME_MISMATCH: 'its certificate is for another name',
  EE_KEY_TOO_SMALL: 'the key of its certificate is too small',
  CA_KEY_TOO_SMALL: 'the key of an issuer of its certificate is too small',
  CA_MD_TOO_WEAK: 'an issuer of its certificate signed with a hash that is too weak',
}

const OTHER_NAME = 'ERR_TLS_CERT_ALTNAME_INVALID'
const ALERT = /^ERR_SSL_(?:SSLV3|SSL\/TLS|TLSV1|TLSV13)_ALERT_(.+)$/

/** Undefined: TLS had nothing to do with it. */
export function tlsFailure(error: {
  readonly code?: string | undefined
  readonly message: string
  readonly reason?: unknown
}): TlsFailure | undefined {
  const { code = '' } = error
  const known = Object.hasOwn(CERTIFICATE, code) ? CERTIFICATE[code] : undefined
  if (known !== undefined) return { code: 'tls_certificate', detail: known }
  if (code === OTHER_NAME) {
    const why = typeof error.reason === 'string' ? `: ${error.reason}` : ''
    return { code: 'tls_certificate', detail: `its certificate is for another name${why}` }
  }
  const alert = ALERT.exec(code)?.[1]
  if (alert !== undefined) return { code: 'tls_alert', detail: `it refused the handshake: ${words(alert)}` }
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG')
    return { code: 'tls_failed', detail: 'it does not speak TLS at this port, or a version that is too old' }
  if (!/^ERR_(?:SSL|OSSL|TLS)_/.test(code)) return undefined
  return {
    code: 'tls_failed',
    detail: `the handshake failed: ${code
      .replace(/^ERR_(?:SSL|OSSL|TLS)_/, '')
      .toLowerCase()
      .replaceAll('_', ' ')}`,
  }
}

/** Why a client's handshake came to nothing; undefined: it just left. */
export function handshakeReason({ code = '' }: { readonly code?: string | undefined }): string | undefined {
  if (/^(?:ECONNRESET|EPIPE|ETIMEDOUT)$/.test(code)) return undefined
  if (Object.hasOwn(HANDSHAKE, code)) return HANDSHAKE[code]
  const alert = ALERT.exec(code)?.[1]
  if (alert !== undefined) return `the client refused it: ${words(alert)}`
  return code === '' ? 'the handshake failed' : words(code.replace(/^ERR_(?:SSL|OSSL|TLS)_/, ''))
}

const HANDSHAKE: Readonly<Record<string, string>> = {
  ERR_SSL_HTTP_REQUEST: 'the client speaks plain HTTP',
  ERR_SSL_WRONG_VERSION_NUMBER: 'the client does not speak TLS',
  ERR_SSL_NO_SHARED_CIPHER: 'no cipher, or no certificate for the name that it asks for, suits the client',
  ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM: 'no certificate suits the client, or none is for the name that it asks for',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'the client speaks only versions of TLS that are not accepted',
  ERR_SSL_NO_APPLICATION_PROTOCOL: 'the client does not speak http/1.1 (ALPN)',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'the client has no certificate',
  ERR_TLS_HANDSHAKE_TIMEOUT: 'the handshake took too long',
}

/** Why a client's certificate is not accepted. */
export function clientRefusal(code: string): string {
  return `the certificate of the client is not accepted: ${words(code)}`
}

function words(code: string): string {
  return code.toLowerCase().replaceAll('_', ' ')
}
