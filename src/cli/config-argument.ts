/** Reading the configuration for a command, with what is wrong with it on standard error. */
import type { Config } from '../config/config.ts'
import type { LoadResult } from '../config/load.ts'
import { loadConfig } from '../config/load.ts'
import type { Io } from './command.ts'

export const DEFAULT_FILE = 'spillway.yaml'

/** Undefined: it has been said what is wrong; the exit code is 2. */
export async function readConfigOrTell(file: string | undefined, io: Io): Promise<Config | undefined> {
  return tell(await loadConfig(file ?? DEFAULT_FILE, io.environment), io)
}

export function tell(result: LoadResult, io: Io): Config | undefined {
  for (const warning of result.warnings) io.err(`${warning}  (warning)\n`)
  if (result.ok) return result.config
  for (const error of result.errors) io.err(`${error}\n`)
  return undefined
}
