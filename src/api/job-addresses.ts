/** What is behind an address below `jobs.path`, and what may be asked of it. Never decoded: tokens need no escapes. */
import type { BatchResource } from './batch-endpoints.ts'
import { REPORT_ACTIONS, type ReportAction } from './reports.ts'

export type JobResource = 'status' | 'result' | 'events'
export type Resource = JobResource | ReportAction | BatchResource

export interface Address {
  readonly resource: Resource
  readonly token: string
}

export const METHODS: Readonly<Record<Resource, readonly string[]>> = {
  status: ['GET', 'HEAD', 'DELETE'],
  result: ['GET', 'HEAD'],
  events: ['GET', 'HEAD'],
  progress: ['POST'],
  extend: ['POST'],
  complete: ['POST'],
  fail: ['POST'],
  batch: ['GET', 'HEAD', 'DELETE'],
  'batch-jobs': ['GET', 'HEAD'],
  'batch-events': ['GET', 'HEAD'],
}

/** Matched on the raw path, before any route. */
export function isJobsPath(path: string, jobsPath: string): boolean {
  return path.startsWith(jobsPath) && (path.length === jobsPath.length || path.charCodeAt(jobsPath.length) === 0x2f)
}

/** `/jobs/<token>` with `/result` and `/events`, `/batches/<token>` with `/jobs` and `/events`, `/reports/<address>` with `/extend` and its like. */
export function readAddress(path: string, jobsPath: string): Address | undefined {
  const [collection = '', token, sub, ...more] = path.slice(jobsPath.length + 1).split('/')
  if (token === undefined || token === '' || more.length > 0) return undefined
  const resource = resourceOf(collection, sub)
  return resource === undefined ? undefined : { resource, token }
}

function resourceOf(collection: string, sub: string | undefined): Resource | undefined {
  switch (collection) {
    case 'jobs':
      return sub === undefined ? 'status' : sub === 'result' || sub === 'events' ? sub : undefined
    case 'batches':
      return sub === undefined ? 'batch' : sub === 'jobs' || sub === 'events' ? `batch-${sub}` : undefined
    case 'reports':
      return sub === undefined ? 'progress' : REPORT_ACTIONS.find((action) => action === sub && action !== 'progress')
    default:
      return undefined
  }
}
