/** An idempotency key that nobody can guess. Not by `randomUUID`, which pages that did not come over TLS don't have. */
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
