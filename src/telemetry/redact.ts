/**
 * Takes job tokens and attempt secrets out of paths before they are logged. What is left names the job, never opens it.
 * Errs on the side of removing: a path that only looks like a job URL loses what looks like a token.
 */

/** A job id and what follows its dot (raw or percent-encoded), wherever in a path it stands. */
const TOKEN = /([A-Za-z0-9_-]{6,})(?:\.|%2[eE])[A-Za-z0-9_.%~-]{16,}/g
/** The words that our own URLs are made of; they and job ids are all that is kept under `jobsPath`. */
const WORDS: ReadonlySet<string> = new Set([
  ...[
    'jobs',
    'result',
    'events',
    'reports',
    'api',
    'queues',
    'pause',
    'resume',
    'receive',
    'settle',
    'extend',
    'progress',
    'complete',
    'fail',
    'peek',
    'keys',
    'release',
  ],
  ...['tasks', 'purge', 'redrive', 'move', 'schedules', 'topics', 'subscriptions', 'publish', 'batches'],
])
const ID_END = /[^A-Za-z0-9_-]/

function keepWordOrId(segment: string, before: string): string {
  if (segment === '' || WORDS.has(segment)) return segment
  if (!WORDS.has(before)) return '***'
  const end = segment.search(ID_END)
  return end === -1 ? segment : segment.slice(0, end)
}

/** `path` is without query, `jobsPath` as configured (`/_spillway`). */
export function redactPath(path: string, jobsPath: string): string {
  if (path !== jobsPath && !path.startsWith(`${jobsPath}/`)) return path.replace(TOKEN, '$1')
  const segments = path.slice(jobsPath.length).split('/')
  let before = ''
  const kept = segments.map((segment) => {
    const text = keepWordOrId(segment, before)
    before = segment
    return text
  })
  return jobsPath + kept.join('/')
}
