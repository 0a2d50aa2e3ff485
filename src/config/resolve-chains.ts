/**
 * Chains (`then`) of routes and queues: completed from the routes that they name, and refused where nothing could follow there, where a request may be
 * answered without ever being a job, and where a chain comes back to itself.
 */
import { type DocumentLimits, isWrong, readThen } from '../core/jobs/job-document.ts'
import { completeThen, isThenProblem, type Then } from '../core/jobs/then.ts'
import type { QueueConfig, RouteConfig } from './config.ts'
import type { Path, Problem } from './problem.ts'
import type { Report } from './report.ts'
import { documentProblem } from './resolve-queues.ts'
import type { ParsedFile } from './schema.ts'

interface Chained {
  readonly routes: readonly RouteConfig[]
  readonly queues: readonly QueueConfig[]
}

type WrittenThen = NonNullable<ParsedFile['queues'][string]['then']>

export function resolveChains(file: ParsedFile, { routes, queues }: Chained, report: Report): Chained {
  const known = { routes, queues: queues.map(({ name }) => name) }
  const limits = { headBytesMax: file.limits.head, headersMax: file.limits.headers, targetBytesMax: file.limits.target }
  const resolved = <T extends object>(holder: T, written: WrittenThen | undefined, path: Path): T => {
    if (written === undefined) return holder
    const then = readWrittenThen(written, { ...known, limits })
    if ('message' in then) report.error({ ...then, path: [...path, ...then.path] }, [['routes'], ['queues']])
    return 'message' in then ? holder : { ...holder, then }
  }
  const chained: Chained = {
    routes: routes.map((route, i) => resolved(route, file.routes[i]?.then, ['routes', i, 'then'])),
    queues: queues.map((queue) => resolved(queue, writtenAt(file, queue.name), ['queues', queue.name, 'then'])),
  }
  for (const [name, { job }] of Object.entries(file.schedules)) {
    const then = job['then'] === undefined ? {} : readWrittenThen(job['then'], { ...known, limits })
    if ('message' in then) report.error({ ...then, path: ['schedules', name, 'job', 'then', ...then.path] })
  }
  checkSpills(chained, report)
  checkCycles(chained, report)
  return chained
}

/** `queues`: those that it may name; absent: any. */
export function readWrittenThen(
  written: unknown,
  known: { readonly routes: readonly RouteConfig[]; readonly queues?: readonly string[]; readonly limits: DocumentLimits },
): Then | Problem {
  const read = readThen(written, known.limits)
  if (isWrong(read)) return documentProblem(read)
  const then = completeThen(read, { routes: known.routes, queues: known.queues ?? (read.queue === undefined ? [] : [read.queue]) })
  if (!isThenProblem(then)) return then
  return { path: typeof written === 'string' ? [] : [then.field], message: then.wrong, suggestion: then.suggestion }
}

function writtenAt(file: ParsedFile, queue: string): WrittenThen | undefined {
  return Object.hasOwn(file.queues, queue) ? file.queues[queue]?.then : undefined
}

/** What a server answers at once is no job, and nothing would follow from it. */
function checkSpills({ routes, queues }: Chained, report: Report): void {
  for (const [i, route] of routes.entries()) {
    if (route.mode !== 'spill') continue
    const message = 'on a spill route nothing would follow from what a server answers at once; set mode: queue'
    if (route.then !== undefined) report.error({ path: ['routes', i, 'then'], message }, [['routes', i, 'mode']])
    else if (queues.find(({ name }) => name === route.queue)?.then !== undefined) {
      report.error({ path: ['queues', route.queue as string, 'then'], message: `the spill route ${route.name} fills it, and ${message}` })
    }
  }
}

interface Link {
  readonly name: string
  readonly path: Path
  readonly then: Then | undefined
}

/** Each has at most one that follows, so a chain is a walk, and one that comes back is followed for ever. */
function checkCycles({ routes, queues }: Chained, report: Report): void {
  const queueLinks = new Map(
    queues.map(({ name, then }): [string, Link] => [name, { name: `queue ${name}`, path: ['queues', name, 'then'], then }]),
  )
  const routeLinks = new Map(
    routes.map(({ name, queue, then }, i): [string, Link] => {
      const ofQueue = queue === undefined ? undefined : queueLinks.get(queue)
      return [name, then === undefined && ofQueue !== undefined ? { ...ofQueue, name } : { name, path: ['routes', i, 'then'], then }]
    }),
  )
  const after = ({ then }: Link): Link | undefined =>
    then?.queue === undefined ? routeLinks.get(then?.route ?? '') : queueLinks.get(then.queue)
  const told = new Set<string>()
  for (const first of [...routeLinks.values(), ...queueLinks.values()]) {
    const walked: Link[] = [first]
    for (let next = after(first); next !== undefined && !told.has(next.name); next = after(next)) {
      const from = walked.findIndex(({ name }) => name === next?.name)
      walked.push(next)
      if (from < 0) continue
      const cycle = walked.slice(from)
      for (const { name } of cycle) told.add(name)
      const message = `the chain comes back to itself: ${cycle.map(({ name }) => name).join(' → ')}`
      report.error({ path: (cycle[0] as Link).path, message })
      break
    }
  }
}
