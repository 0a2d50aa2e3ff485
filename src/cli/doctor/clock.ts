/**
 * Whether the wall clock can be trusted: expiry, retention and everything that is told to people go by it. Deadlines inside of the gateway
 * go by a clock that never jumps. What the system does not tell is said to be unknown.
 */
import { execFile } from 'node:child_process'
import { stat } from 'node:fs/promises'
import type { EpochMillis, Millis } from '../../lib/units.ts'
import type { Finding } from './finding.ts'

/** systemd-timesyncd touches it when it has set the clock. */
const TIMESYNC_MARK = '/run/systemd/timesync/synchronized'
const TIMEDATECTL_MS: Millis = 2000
const WATCHED_MS: Millis = 400
/** A clock that is slewed gains or loses half a millisecond in each second; more is a jump. */
const JUMP_MS: Millis = 20
/** This version did not exist before. */
const EARLIEST: EpochMillis = Date.UTC(2025, 0, 1)
const LATEST: EpochMillis = Date.UTC(2100, 0, 1)

export interface ClockFacts {
  readonly now: EpochMillis
  /** How much the wall clock moved against the one that never jumps. */
  readonly driftMs: Millis
  /** Undefined: nobody says. */
  readonly synchronised: boolean | undefined
}

export async function checkClock(): Promise<readonly Finding[]> {
  const [driftMs, synchronised] = await Promise.all([drift(), isSynchronised()])
  return [judgeClock({ now: Date.now(), driftMs, synchronised })]
}

export function judgeClock({ now, driftMs, synchronised }: ClockFacts): Finding {
  const check = 'clock'
  const todo = 'let a time service set it (timedatectl set-ntp true, chrony)'
  if (now < EARLIEST || now > LATEST) {
    const says = `the wall clock says ${new Date(now).toISOString()}, which cannot be: jobs would expire or be kept at the wrong time`
    return { check, level: 'fail', says, todo }
  }
  if (Math.abs(driftMs) > JUMP_MS) {
    return { check, level: 'warn', says: `the wall clock moved by ${Math.round(driftMs)} ms within ${WATCHED_MS} ms`, todo }
  }
  if (synchronised === true) return { check, level: 'ok', says: 'synchronised' }
  if (synchronised === false) return { check, level: 'warn', says: 'no time service has synchronised it', todo }
  return { check, level: 'note', says: 'unknown whether a time service keeps it; it runs evenly and its year is plausible' }
}

async function drift(): Promise<Millis> {
  const [wall, steady] = [Date.now(), performance.now()]
  await new Promise((resolve) => setTimeout(resolve, WATCHED_MS))
  return Date.now() - wall - (performance.now() - steady)
}

async function isSynchronised(): Promise<boolean | undefined> {
  if (await exists(TIMESYNC_MARK)) return true
  const told = await new Promise<string>((resolve) => {
    execFile('timedatectl', ['show', '--property=NTPSynchronized', '--value'], { timeout: TIMEDATECTL_MS }, (error, out) =>
      resolve(error === null ? out.trim() : ''),
    )
  })
  return told === 'yes' ? true : told === 'no' ? false : undefined
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
