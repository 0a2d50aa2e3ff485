/** Backup, restore and verification of a folder that no gateway works on. What cannot be done is a `CopyRefused` in words. */
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { EpochMillis } from '../../lib/units.ts'
import type { MaintenanceReport } from '../../ports/job-store.ts'
import { BODIES_FOLDER } from './bodies.ts'
import { explained } from './database.ts'
import { DATABASE_FILE, reasonOf, refuseRemoteFolder, RESTORE_FILE, syncFolder } from './folder.ts'
import { holderOf, stampOf, takeSnapshot } from './offline-folder.ts'
import { writeMeta } from './schema.ts'
import { StoreOpenError } from './store-open-error.ts'
import {
  beginBackup,
  copyBodies,
  copyDatabase,
  CopyRefused,
  type CopySource,
  finishBackup,
  type Manifest,
  mergeLog,
  readManifest,
  syncFile,
  wrongWithBackup,
} from './store-copy.ts'
import { verifyDatabase } from './verify.ts'
import { judgeLog, openLog } from './write-ahead-log.ts'

/** 2024-01-01T00:00:00Z */
const EPOCH: EpochMillis = 1_704_067_200_000
const TEN_MINUTES = 600_000
const GENERATIONS_AT_LEAST = 1000

/** Its own format is kept: also a way back from an upgrade. */
export function backupFolder(path: string, target: string, now: EpochMillis): Manifest {
  refuseUnfit(path)
  const log = judgeLog(path)
  if (typeof log === 'object') throw new CopyRefused(`${path}: ${log.wrong}; see: spillway help salvage`)
  const before = stampOf(path)
  const { partial, remove } = beginBackup(target)
  const rules = { floorBytes: 0, storePath: path }
  try {
    withFiles(path, (files) => copyDatabase(log === 'superseded' ? { ...files, logBytes: 0 } : files, partial, rules))
    mergeLog(partial)
    copyBodies(join(path, BODIES_FOLDER), partial, rules)
    if (holderOf(path) !== undefined || stampOf(path) !== before)
      throw new CopyRefused(`${path}: a gateway was started while it was copied`)
    return finishBackup(partial, target, now)
  } catch (error) {
    remove()
    throw error
  }
}

/** Of a store or a backup. */
export function verifyFolder(path: string): MaintenanceReport {
  refuseUnfit(path)
  const manifest = readManifest(path)
  const log = judgeLog(path)
  const known = [typeof log === 'object' ? log.wrong : undefined, manifest === undefined ? undefined : wrongWithBackup(path, manifest)]
  const snapshot = takeSnapshot(path)
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(snapshot.location, { readOnly: true })
    const problems = known.filter((each) => each !== undefined)
    return verifyDatabase(db, join(path, BODIES_FOLDER), problems)
  } catch (error) {
    throw explained(error, path)
  } finally {
    db?.close()
    snapshot.remove()
  }
}

/**
 * A store of a backup, in a folder that is new or empty. Its generation is raised above any that the original can have reached since, so that
 * no fence and no version is given twice. What is damaged is not restored.
 */
export function restoreBackup(backup: string, path: string, now: EpochMillis): MaintenanceReport {
  const manifest = readManifest(backup)
  if (manifest === undefined) throw new CopyRefused(`${backup} is no backup: there is no backup.json in it`)
  const wrong = wrongWithBackup(backup, manifest)
  if (wrong !== undefined) throw new CopyRefused(`${backup} is damaged: ${wrong}; see: spillway help salvage`)
  beginStore(path)
  const rules = { floorBytes: 0, storePath: path }
  withFiles(backup, (files) => copyDatabase(files, path, rules))
  copyBodies(join(backup, BODIES_FOLDER), path, rules)
  const db = new DatabaseSync(join(path, DATABASE_FILE))
  let report: MaintenanceReport
  try {
    report = verifyDatabase(db, join(path, BODIES_FOLDER))
    raiseGeneration(db, now)
  } finally {
    db.close()
  }
  if (report.ok) endStore(path)
  return report
}

/** The folder is claimed for a store that is being made. A gateway does not open it before `endStore`. */
export function beginStore(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    if (readdirSync(path).length > 0) throw new CopyRefused(`${path} is not empty; name a folder that is new or empty`)
  } catch (error) {
    throw error instanceof CopyRefused ? error : new CopyRefused(`${path} cannot be used: ${reasonOf(error)}`)
  }
  refuseRemoteFolder(path)
  writeFileSync(join(path, RESTORE_FILE), '', { mode: 0o600 })
  syncFolder(path)
}

export function endStore(path: string): void {
  syncFile(join(path, DATABASE_FILE))
  syncFolder(path)
  rmSync(join(path, RESTORE_FILE))
  syncFolder(path)
}

/** Above all that came before: a store is opened less often than every ten minutes, over the years, or less than a thousand times since. */
export function raisedGeneration(generation: number, now: EpochMillis): number {
  return Math.max(generation + GENERATIONS_AT_LEAST, Math.floor((now - EPOCH) / TEN_MINUTES))
}

function raiseGeneration(db: DatabaseSync, now: EpochMillis): void {
  const { generation } = db.prepare("SELECT value AS generation FROM meta WHERE name = 'generation'").get() as { generation: number }
  const raised = raisedGeneration(generation, now)
  const [version] = Object.values(db.prepare('PRAGMA user_version').get() ?? {})
  if (version === 1) db.prepare("UPDATE meta SET value = ? WHERE name = 'generation'").run(raised)
  else writeMeta(db, 'generation', raised)
}

function refuseUnfit(path: string): void {
  if (!existsSync(join(path, DATABASE_FILE))) {
    throw new StoreOpenError(path, existsSync(path) ? `there is no ${DATABASE_FILE} in it` : 'there is no such folder')
  }
  const holder = holderOf(path)
  if (holder !== undefined) throw new StoreOpenError(path, `the gateway with pid ${holder} works on it`)
}

export function withFiles<T>(path: string, work: (files: CopySource) => T): T {
  const database = openSync(join(path, DATABASE_FILE), 'r')
  const log = openLog(path)
  try {
    const logBytes = log === undefined ? 0 : fstatSync(log).size
    return work({ database, databaseBytes: fstatSync(database).size, log: log ?? -1, logBytes })
  } finally {
    closeSync(database)
    if (log !== undefined) closeSync(log)
  }
}
