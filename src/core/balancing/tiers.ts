/**
 * Primaries before backups: a backup is in use only as long as no primary can be used, and then all of them are. A primary that is full, or
 * rests, can be used: who waits for it is not sent to a backup, or backups would be ordinary servers on every busy day.
 */

export interface Tiered {
  readonly backup: boolean
}

/** Of those that can be used: the ones that get something. */
export function tierInUse<T extends Tiered>(usable: readonly T[]): readonly T[] {
  const primaries = usable.filter(({ backup }) => !backup)
  return primaries.length > 0 ? primaries : usable
}
