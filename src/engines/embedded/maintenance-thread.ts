/**
 * Copies a store that goes on meanwhile, and makes a backup of the copy, or looks for damage in it. On a thread of its own: the store thread
 * only lends its open files, and is told as soon as it may write to them again.
 */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import type { Bytes, EpochMillis } from '../../lib/units.ts'
import type { Maintenance, MaintenanceReport } from '../../ports/job-store.ts'
import { BODIES_FOLDER } from './bodies.ts'
import type { HeldFiles } from './engine.ts'
import { DATABASE_FILE, reasonOf, VERIFY_FOLDER } from './folder.ts'
import { beginBackup, copyBodies, copyDatabase, CopyRefused, type CopyRules, finishBackup, mergeLog } from './store-copy.ts'
import { verifyDatabase } from './verify.ts'

export interface MaintenanceData {
  readonly work: Maintenance
  readonly files: HeldFiles
  readonly storePath: string
  readonly floorBytes: Bytes
  readonly now: EpochMillis
}

export type FromMaintenance =
  /** Database and log may be written again. */
  { readonly kind: 'copied' } | { readonly kind: 'done'; readonly report: MaintenanceReport }

const port = parentPort
if (port === null) throw new Error('this module is the entry of a worker thread')

function send(message: FromMaintenance): void {
  port?.postMessage(message)
}

function backup(target: string, { files, storePath, now }: MaintenanceData, rules: CopyRules): MaintenanceReport {
  const { partial, remove } = beginBackup(target)
  try {
    copyDatabase(files, partial, rules)
    send({ kind: 'copied' })
    mergeLog(partial)
    copyBodies(join(storePath, BODIES_FOLDER), partial, rules)
    const { jobs, bytes } = finishBackup(partial, target, now)
    return { ok: true, jobs, bytes, problems: [] }
  } catch (error) {
    remove()
    throw error
  }
}

function verify({ files, storePath }: MaintenanceData, rules: CopyRules): MaintenanceReport {
  const folder = join(storePath, VERIFY_FOLDER)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { mode: 0o700 })
  try {
    copyDatabase(files, folder, rules)
    send({ kind: 'copied' })
    mergeLog(folder)
    const db = new DatabaseSync(join(folder, DATABASE_FILE), { readOnly: true })
    try {
      return verifyDatabase(db, join(storePath, BODIES_FOLDER))
    } finally {
      db.close()
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function refused(problem: string): MaintenanceReport {
  return { ok: false, jobs: 0, bytes: 0, problems: [problem] }
}

function run(data: MaintenanceData): MaintenanceReport {
  const rules: CopyRules = { floorBytes: data.floorBytes, storePath: data.storePath }
  try {
    return data.work.kind === 'backup' ? backup(data.work.path, data, rules) : verify(data, rules)
  } catch (error) {
    return refused(error instanceof CopyRefused ? error.message : `the copy came to nothing: ${reasonOf(error)}`)
  }
}

send({ kind: 'done', report: run(workerData as MaintenanceData) })
port.close()
