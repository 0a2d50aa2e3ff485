/** A request or an answer as a row of its table, with a checksum over all that the row and its file say. */
import { crc32 } from 'node:zlib'
import type { Payload } from '../ledger/tables.ts'

/** file: 0: the body follows the head in `data`; else which of the job's files it is. Below 0: the body is a blob, and none is read with the head. */
export type PayloadRow = readonly [headBytes: number, file: number, crc: number, data: Uint8Array]

export function payloadRow(seq: number, file: number, { head, body }: Payload): PayloadRow {
  const seed = crcSeed(seq, head.length)
  if (file !== 0) return [head.length, file, crc32(body, crc32(head, seed)), head]
  const data = joined(head, body)
  return [head.length, 0, crc32(data, seed), data]
}

/** undefined: it fails its checks. `read`: the file of that number; undefined: it is not there. */
export function payloadOf(seq: number, row: PayloadRow, read: (file: number) => Uint8Array | undefined): Payload | undefined {
  const [headBytes, file, crc, data] = row
  const dataCrc = crc32(data, crcSeed(seq, headBytes))
  if (file === 0) return dataCrc === crc ? { head: data.subarray(0, headBytes), body: data.subarray(headBytes) } : undefined
  const body = file < 0 ? NO_BODY : read(file)
  return body !== undefined && crc32(body, dataCrc) === crc ? { head: data, body } : undefined
}

/** How a row says that the body is the blob of that number. */
export function blobFile(number: number): number {
  return -number
}

const NO_BODY = new Uint8Array(0)

/** Makes a payload's checksum one of all that its row says: it cannot pass for another job's, nor its head for a part of its body. */
function crcSeed(seq: number, headBytes: number): number {
  return ((seq % 2 ** 32) ^ headBytes) >>> 0
}

/** Head and body as one piece; where they came as neighbours of one buffer, without a copy. */
function joined(head: Uint8Array, body: Uint8Array): Uint8Array {
  if (body.length === 0) return head
  if (head.buffer === body.buffer && head.byteOffset + head.length === body.byteOffset) {
    return new Uint8Array(head.buffer, head.byteOffset, head.length + body.length)
  }
  return Buffer.concat([head, body])
}
