/** What TLS errors are called. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tlsFailure } from './tls-failure.ts'

const failed = (code: string, reason?: string): ReturnType<typeof tlsFailure> => tlsFailure({ code, message: 'm', reason })

test('what is wrong with a certificate is said', () => {
  assert.deepEqual(failed('CERT_HAS_EXPIRED'), { code: 'tls_certificate', detail: 'its certificate has expired' })
  assert.equal(failed('DEPTH_ZERO_SELF_SIGNED_CERT')?.code, 'tls_certificate')
  assert.deepEqual(failed('ERR_TLS_CERT_ALTNAME_INVALID', "Host: a. is not in the cert's altnames: DNS:b"), {
    code: 'tls_certificate',
    detail: "its certificate is for another name: Host: a. is not in the cert's altnames: DNS:b",
  })
})

test('an alert of the server is one, whatever version sent it', () => {
  for (const code of ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'ERR_SSL_TLSV1_ALERT_CERTIFICATE_REQUIRED'])
    assert.deepEqual(failed(code), { code: 'tls_alert', detail: 'it refused the handshake: certificate required' })
  assert.equal(failed('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE')?.code, 'tls_alert')
})

test('what is no TLS, and other failures of a handshake', () => {
  assert.match(failed('ERR_SSL_WRONG_VERSION_NUMBER')?.detail ?? '', /does not speak TLS/)
  assert.deepEqual(failed('ERR_SSL_UNSUPPORTED_PROTOCOL'), { code: 'tls_failed', detail: 'the handshake failed: unsupported protocol' })
})

test('what the system says is no failure of TLS', () => {
  for (const code of ['ECONNREFUSED', 'ECONNRESET', 'EMFILE', '', 'toString']) assert.equal(failed(code), undefined)
})
