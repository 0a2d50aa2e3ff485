/** Hashes for spreading, not for secrets: 32 bits, the same on every machine and for ever. */

const FNV_OFFSET = 0x811c9dc5
const FNV_PRIME = 0x01000193

/** 32 bits of FNV-1a over the string's UTF-16 units, then `mix32`. Stored with jobs: it must never change. */
export function hash32(text: string, seed = 0): number {
  let hash = FNV_OFFSET ^ seed
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    hash = Math.imul(hash ^ (unit & 0xff), FNV_PRIME)
    // The high byte goes in only where there is one: ASCII hashes as plain FNV-1a does.
    if (unit > 0xff) hash = Math.imul(hash ^ (unit >>> 8), FNV_PRIME)
  }
  return mix32(hash)
}

/** Spreads every bit over all: the finaliser of MurmurHash3. Neighbours become strangers. */
export function mix32(value: number): number {
  let hash = value
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
