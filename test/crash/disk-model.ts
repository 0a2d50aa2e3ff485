/**
 * A disk that loses power. What was synced is there; of the rest any subset of 4 KiB pages is, each in any state that it had since the
 * last sync; names that were not synced with their folder may be missing, or still there after they were removed.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import type { SeededRandom } from '../support/seeded-random.ts'
import type { FileEvent } from './strace.ts'

const PAGE = 4096

interface File {
  /** What programs see. */
  current: Buffer
  currentSize: number
  durable: Buffer
  durableSize: number
  /** Page -> its contents since the last sync, oldest first. A shorter one is the end of the file. */
  dirty: Map<number, Buffer[]>
  position: number
  /** The name is known to be on the disk. */
  named: boolean
  /** Removed, but not for sure on the disk. */
  removed: boolean
}

export class DiskModel {
  readonly #files = new Map<string, File>()

  apply(event: FileEvent): void {
    switch (event.kind) {
      case 'create':
        return this.#create(event.path, event.truncate)
      case 'write':
        return this.#write(this.#file(event.path), event.offset, event.data)
      case 'truncate':
        return this.#truncate(this.#file(event.path), event.size)
      case 'unlink': {
        const file = this.#file(event.path)
        if (file.named) file.removed = true
        else this.#files.delete(event.path)
        return
      }
      case 'sync':
        return this.#sync(event.path)
    }
  }

  /** What one power cut at this moment may leave. */
  rebuild(root: string, into: string, random: SeededRandom): void {
    rmSync(into, { recursive: true, force: true })
    mkdirSync(join(into, 'bodies'), { recursive: true })
    // From nothing of it reached the disk to all of it did.
    const share = random.pick([0, 0.1, 0.5, 0.5, 0.9, 1])
    for (const [path, file] of this.#files) {
      const there = file.removed ? random.chance(0.5) : file.named || random.chance(share)
      if (!there) continue
      const target = join(into, relative(root, path))
      mkdirSync(dirname(target), { recursive: true })
      writeFileSync(target, afterCut(file, share, random))
    }
  }

  #create(path: string, truncate: boolean): void {
    const known = this.#files.get(path)
    if (known === undefined || known.removed) {
      const none = Buffer.alloc(0)
      this.#files.set(path, {
        current: none,
        currentSize: 0,
        durable: none,
        durableSize: 0,
        dirty: new Map(),
        position: 0,
        named: false,
        removed: false,
      })
    } else if (truncate) this.#truncate(known, 0)
  }

  #file(path: string): File {
    const file = this.#files.get(path)
    if (file === undefined) throw new Error(`${path} was not created while it was watched`)
    return file
  }

  #write(file: File, at: number, data: Buffer): void {
    const offset = at < 0 ? file.position : at
    const end = offset + data.length
    file.current = grown(file.current, end)
    data.copy(file.current, offset)
    file.currentSize = Math.max(file.currentSize, end)
    file.position = end
    for (let page = Math.floor(offset / PAGE); page * PAGE < end; page++) {
      const content = Buffer.from(file.current.subarray(page * PAGE, Math.min(file.currentSize, (page + 1) * PAGE)))
      const states = file.dirty.get(page)
      if (states === undefined) file.dirty.set(page, [content])
      else states.push(content)
    }
  }

  /** What is cut off is taken as gone at once; what is not stays as dirty as it was. */
  #truncate(file: File, size: number): void {
    file.current = Buffer.from(grown(file.current, size).subarray(0, size))
    file.currentSize = size
    file.durableSize = Math.min(file.durableSize, size)
    file.durable = Buffer.from(file.durable.subarray(0, file.durableSize))
    for (const page of file.dirty.keys()) if (page * PAGE >= size) file.dirty.delete(page)
    file.position = 0
  }

  #sync(path: string): void {
    const file = this.#files.get(path)
    if (file === undefined) return this.#syncFolder(path)
    for (const [page, states] of file.dirty) {
      const last = states.at(-1) as Buffer
      file.durable = grown(file.durable, page * PAGE + last.length)
      last.copy(file.durable, page * PAGE)
    }
    file.durableSize = file.currentSize
    file.dirty.clear()
  }

  #syncFolder(folder: string): void {
    for (const [path, file] of this.#files) {
      if (dirname(path) !== folder) continue
      if (file.removed) this.#files.delete(path)
      else file.named = true
    }
  }
}

function afterCut(file: File, share: number, random: SeededRandom): Uint8Array {
  let size = file.durableSize
  let content: Buffer = Buffer.from(file.durable.subarray(0, size))
  for (const [page, states] of file.dirty) {
    if (!random.chance(share)) continue
    const state = random.chance(0.7) ? (states.at(-1) as Buffer) : random.pick(states)
    const end = page * PAGE + state.length
    content = grown(content, end)
    state.copy(content, page * PAGE)
    size = Math.max(size, end)
  }
  return content.subarray(0, size)
}

/** With room for `size` bytes; zeros where nothing was. */
function grown(buffer: Buffer, size: number): Buffer {
  if (buffer.length >= size) return buffer
  const larger = Buffer.alloc(Math.max(size, 2 * buffer.length))
  buffer.copy(larger)
  return larger
}
