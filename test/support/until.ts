/** Waits for a condition instead of sleeping. The limit is for hanging tests only; nothing is said about how long things take. */
const LIMIT_MS = 20_000
const EVERY_MS = 5

/** `what` as a function is asked only in the end: what it tells is then how far things had come. */
export async function until(
  what: string | (() => string),
  condition: () => boolean | Promise<boolean>,
  limitMs: number = LIMIT_MS,
): Promise<void> {
  const endsAt = performance.now() + limitMs
  while (!(await condition())) {
    if (performance.now() > endsAt) throw new Error(`waited ${limitMs} ms in vain until ${typeof what === 'string' ? what : what()}`)
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS))
  }
}
