/** Whether the file of a streamed answer is as it was written, as far as can be told without its key. For whoever looks at a store that nobody works on. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import type { KeptBlob } from '../../core/jobs/record.ts'
import { blockBytes, isSound, STORED_BLOCK_BYTES, storedBytes } from './blob-format.ts'
import { bodyFileName } from './bodies.ts'

/** Undefined: nothing is wrong. Throws where the file cannot be read. */
export function wrongWithBlob(folder: string, seq: number, { number, bytes }: KeptBlob): string | undefined {
  const name = bodyFileName('stream', seq, number)
  const file = openExisting(join(folder, name))
  if (file === undefined) return 'is missing'
  try {
    if (fstatSync(file).size !== storedBytes(bytes)) return 'has another size than its record says'
    for (let index = 0; blockBytes(index, bytes) > 0; index++) {
      const block = Buffer.allocUnsafe(storedBytes(blockBytes(index, bytes)))
      const read = readSync(file, block, 0, block.length, index * STORED_BLOCK_BYTES)
      if (read !== block.length || !isSound(name, index, block)) return 'fails its checks'
    }
    return undefined
  } finally {
    closeSync(file)
  }
}

function openExisting(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
