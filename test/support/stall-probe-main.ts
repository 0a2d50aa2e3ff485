/** The process behind `startStallProbe`: does nothing, and says every second how late its event loop was at most, in milliseconds. */
import { monitorEventLoopDelay } from 'node:perf_hooks'

const RESOLUTION_MS = 10

const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
delays.enable()
setInterval(() => {
  process.stdout.write(`${Math.max(0, delays.max / 1e6 - RESOLUTION_MS)}\n`)
  delays.reset()
}, 1000)
