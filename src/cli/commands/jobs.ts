/** `spillway jobs`: the commands for jobs, together. */
import type { CommandGroup } from '../command-group.ts'
import { exportJobs } from './jobs-export.ts'
import { listJobs } from './jobs-list.ts'
import { cancelJobs, forgetJobs, moveJobs, purgeJobs, redriveJobs } from './jobs-mend.ts'
import { followJob, showJob } from './jobs-show.ts'

export const jobsGroup: CommandGroup = {
  name: 'jobs',
  summary: 'Jobs: list, show, follow, cancel, redrive, move, forget, purge, export.',
  commands: [listJobs, showJob, followJob, cancelJobs, redriveJobs, moveJobs, forgetJobs, purgeJobs, exportJobs],
}
