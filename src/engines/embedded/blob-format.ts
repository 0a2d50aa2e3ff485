/**
 * How the body of a streamed answer lies in its file: blocks of one size, the last one shorter, each encrypted and with a checksum of its own, so
 * that any part can be read by itself and nothing else is ever taken for it. How many bytes there are, and the key, are not in the file: the result
 * says so, and is encrypted like any other. So a file without its job says nothing, and nothing in it changes when the store's keys do.
 *
 * A block: the encrypted bytes, tag (16), CRC32 of both (4). The checksum tells damage without the key; the tag binds the block to its place.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Bytes } from '../../lib/units.ts'

export const BLOCK_BYTES: Bytes = 64 * 1024
export const BLOB_KEY_BYTES: Bytes = 32
const TAG_BYTES = 16
const CRC_BYTES = 4
const NONCE_BYTES = 12
const OVERHEAD_BYTES = TAG_BYTES + CRC_BYTES

export const STORED_BLOCK_BYTES: Bytes = BLOCK_BYTES + OVERHEAD_BYTES

/** Of a file that holds so many bytes. */
export function storedBytes(bytes: Bytes): Bytes {
  return bytes + Math.ceil(bytes / BLOCK_BYTES) * OVERHEAD_BYTES
}

/** Of the block with that index, in a blob of so many bytes; 0 or less: there is none. */
export function blockBytes(index: number, bytes: Bytes): Bytes {
  return Math.min(BLOCK_BYTES, bytes - index * BLOCK_BYTES)
}

/** `file`: its name. A key is for one blob only: its nonces are the indexes. */
export function sealBlock(key: Uint8Array, file: string, index: number, plain: Uint8Array): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonceOf(index))
  cipher.setAAD(placeOf(file, index))
  const sealed = [cipher.update(plain), cipher.final(), cipher.getAuthTag()]
  const stored = Buffer.concat([...sealed, Buffer.alloc(CRC_BYTES)])
  stored.writeUInt32LE(checksum(file, index, stored), stored.length - CRC_BYTES)
  return stored
}

/** Undefined: it is not what was written there. */
export function openBlock(key: Uint8Array, file: string, index: number, stored: Buffer): Buffer | undefined {
  if (!isSound(file, index, stored)) return undefined
  const tagAt = stored.length - OVERHEAD_BYTES
  const decipher = createDecipheriv('aes-256-gcm', key, nonceOf(index), { authTagLength: TAG_BYTES })
  decipher.setAAD(placeOf(file, index))
  decipher.setAuthTag(stored.subarray(tagAt, tagAt + TAG_BYTES))
  try {
    const plain = decipher.update(stored.subarray(0, tagAt))
    decipher.final()
    return plain
  } catch {
    return undefined
  }
}

/** As far as can be told without the key. */
export function isSound(file: string, index: number, stored: Buffer): boolean {
  if (stored.length <= OVERHEAD_BYTES) return false
  return stored.readUInt32LE(stored.length - CRC_BYTES) === checksum(file, index, stored)
}

function checksum(file: string, index: number, stored: Buffer): number {
  return crc32(stored.subarray(0, stored.length - CRC_BYTES), crc32(placeOf(file, index)))
}

function placeOf(file: string, index: number): Buffer {
  return Buffer.from(`${file} ${index}`)
}

function nonceOf(index: number): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES)
  nonce.writeUInt32BE(index, NONCE_BYTES - 4)
  return nonce
}
