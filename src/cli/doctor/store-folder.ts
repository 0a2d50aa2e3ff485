/** The folder that accepted jobs live in: may the gateway write there, does its file system keep promises, is there room. */
import { constants } from 'node:fs'
import { access, stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import process from 'node:process'
import type { Config } from '../../config/config.ts'
import { refuseRemote } from '../../engines/embedded/folder.ts'
import type { Bytes } from '../../lib/units.ts'
import { type Finding, sizeText } from './finding.ts'

/** statfs types by name: linux/magic.h. */
const NAMES: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x2fc12fc1, 'zfs'],
  [0xf2f52010, 'f2fs'],
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
  [0x794c7630, 'overlay'],
  [0x65735546, 'FUSE'],
])
const IN_MEMORY: ReadonlySet<string> = new Set(['tmpfs', 'ramfs'])
/** With less than so many times the floor, the disk is as good as full. */
const FLOORS_WANTED = 4

export interface FolderFacts {
  /** statfs type. */
  readonly type: number
  readonly freeBytes: Bytes
  readonly floorBytes: Bytes
  /** Of the store, as configured. */
  readonly path: string
}

/** The folder itself, or where it would be made: the nearest one above it that is there. */
export async function existingFolder(path: string): Promise<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    const found = await stat(folder).catch(() => undefined)
    if (found !== undefined || folder === dirname(folder)) return folder
  }
}

export async function checkFolder({ store, queues }: Config): Promise<readonly Finding[]> {
  const check = 'store folder'
  if (store.engine === 'memory') return [{ check, level: 'note', says: 'store.engine is memory: nothing is on a disk' }]
  const folder = await existingFolder(store.path)
  const found = await stat(folder)
  if (!found.isDirectory()) {
    return [{ check, level: 'fail', says: `${folder} is a file, not a folder`, todo: 'change store.path, or move the file away' }]
  }
  const { bavail, bsize, type } = await statfs(folder)
  const facts: FolderFacts = { type, freeBytes: bavail * bsize, floorBytes: store.diskFloor, path: store.path }
  const limits = queues.reduce((sum, queue) => sum + queue.limits.bytes + queue.limits.finished, 0)
  return [await checkRights(folder, store.path), checkFileSystem(facts), checkRoom(facts, limits)]
}

async function checkRights(folder: string, path: string): Promise<Finding> {
  const check = 'store folder'
  const mayWrite = await access(folder, constants.R_OK | constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  )
  if (!mayWrite) {
    const todo = 'give it to the user that the gateway runs as, and run doctor as that user'
    return { check, level: 'fail', says: `${folder} cannot be written by this user`, todo }
  }
  if (folder !== path) return { check, level: 'ok', says: `${path} is not there yet; it will be made in ${folder}` }
  const { mode, uid } = await stat(folder)
  const self = process.getuid?.()
  if (self !== undefined && uid !== self) {
    const todo = 'run doctor, and the gateway, as the user that owns it'
    return { check, level: 'warn', says: `${path} belongs to user ${uid}, and this is user ${self}`, todo }
  }
  if ((mode & 0o077) !== 0) {
    const says = `${path} is open to other users (mode ${(mode & 0o777).toString(8)})`
    return { check, level: 'note', says, todo: `the gateway makes it private when it starts; until then: chmod 700 ${path}` }
  }
  return { check, level: 'ok', says: `${path} is this user's alone` }
}

export function checkFileSystem({ type, path }: Pick<FolderFacts, 'type' | 'path'>): Finding {
  const check = 'file system'
  try {
    refuseRemote(path, type)
  } catch (error) {
    return {
      check,
      level: 'fail',
      says: (error as Error).message,
      todo: 'the gateway refuses to start there; put store.path on a local disk',
    }
  }
  const name = NAMES.get(type >>> 0) ?? `of type 0x${(type >>> 0).toString(16)}`
  if (IN_MEMORY.has(name)) {
    const says = `${path} is on ${name}: it is memory, and accepted jobs are lost with the machine's power`
    return { check, level: 'warn', says, todo: 'put store.path on a disk' }
  }
  if (name === 'overlay') {
    const says = `${path} is in a container's own layer, which is removed with the container, and the accepted jobs with it`
    return { check, level: 'warn', says, todo: 'mount a volume at store.path' }
  }
  if (name === 'FUSE') {
    const says = `${path} is on a file system in user space (FUSE), which keeps as much as its program does`
    return { check, level: 'warn', says, todo: 'put store.path on a local disk' }
  }
  return { check, level: 'ok', says: `${path} is on ${name}` }
}

export function checkRoom({ freeBytes, floorBytes, path }: FolderFacts, queueLimits: Bytes): Finding {
  const check = 'disk space'
  const free = `${sizeText(freeBytes)} free`
  if (freeBytes < floorBytes) {
    const says = `${free} on the disk of ${path}: below ${sizeText(floorBytes)} every new job is refused`
    return { check, level: 'fail', says, todo: 'make room; nothing that was accepted is lost' }
  }
  if (freeBytes < FLOORS_WANTED * floorBytes) {
    return {
      check,
      level: 'warn',
      says: `${free}: new jobs are refused below ${sizeText(floorBytes)}`,
      todo: `make room on the disk of ${path}`,
    }
  }
  if (queueLimits > freeBytes) {
    const says = `${free}, and the queues may hold ${sizeText(queueLimits)} together: the disk is full before their limits refuse`
    return { check, level: 'note', says, todo: 'lower limits.bytes and limits.finished of the queues, or use a larger disk' }
  }
  return { check, level: 'ok', says: free }
}
