/** Waits for a condition instead of sleeping. The limit is for hanging tests only; nothing is said about how long things take. */
const LIMIT_MS = 120_000
const EVERY_MS = 5
/** What takes longer is looked at less often: to look takes time from those who shall bring it about. */
const EVERY_MS_MAX = 25

/** `what` as a function is asked only in the end: what it tells is then how far things had come. */
export async function until(
  what: string | (() => string),
  condition: () => boolean | Promise<boolean>,
  limitMs: number = LIMIT_MS,
): Promise<void> {
  const startedAt = performance.now()
  while (!(await condition())) {
    const waitedMs = performance.now() - startedAt
    if (waitedMs > limitMs) throw new Error(`waited ${limitMs} ms in vain until ${typeof what === 'string' ? what : what()}`)
    await new Promise((resolve) => setTimeout(resolve, Math.min(EVERY_MS_MAX, Math.max(EVERY_MS, waitedMs / 20))))
  }
}
