/** Units as type names, so that a signature says what a number counts. */

/** A span of time in milliseconds. */
export type Millis = number

/** A point in time: milliseconds since the Unix epoch (wall clock). */
export type EpochMillis = number

/** A point on the process's monotonic clock, in milliseconds; compare only with its own kind. */
export type MonotonicMillis = number

/** A size in bytes. */
export type Bytes = number
