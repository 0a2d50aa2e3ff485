/** Whole suites with several threads: `TEST_WORKERS=3 npm test -- reload`. */
export const WORKERS: { readonly workers?: number } =
  process.env['TEST_WORKERS'] === undefined ? {} : { workers: Number(process.env['TEST_WORKERS']) }
