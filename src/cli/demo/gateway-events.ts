/** The gateway of the demo tells its events as JSON lines; this shows them as it would itself, with the demo's names for servers and their pids. */
import type { Readable } from 'node:stream'
import { createInterface } from 'node:readline'
import { createEventText } from '../../telemetry/event-text.ts'
import type { GatewayEvent } from '../../telemetry/telemetry.ts'

export interface EventView {
  readonly say: (line: string) => void
  /** `127.0.0.1:3001` -> `a`. */
  readonly serverName: (address: string) => string
  readonly serverPid: (address: string) => number | undefined
  /** False: it is still starting, and nothing is shown. */
  readonly isShown: () => boolean
}

/** Resolves when the gateway says that it listens. */
export function showEvents(output: Readable, view: EventView): Promise<void> {
  const text = createEventText({ write: view.say, serverName: view.serverName })
  return new Promise((resolve) => {
    const lines = createInterface({ input: output })
    lines.on('close', () => text.flush())
    lines.on('line', (line) => {
      const event = readEvent(line)
      if (event?.type === 'started') resolve()
      else if (view.isShown()) {
        if (event === undefined) view.say(line)
        else if (!isFirstCheck(event)) text.print(withPid(event, view))
      }
    })
  })
}

function readEvent(line: string): GatewayEvent | undefined {
  try {
    const value = JSON.parse(line) as unknown
    return typeof value === 'object' && value !== null && 'type' in value ? (value as GatewayEvent) : undefined
  } catch {
    return undefined
  }
}

/** A gateway that has just started finds its servers up: nothing happened. */
function isFirstCheck(event: GatewayEvent): boolean {
  return event.type === 'server-up' && event.downForMs === undefined
}

function withPid(event: GatewayEvent, view: EventView): GatewayEvent {
  if (event.type !== 'server-down') return event
  const pid = view.serverPid(event.server)
  return pid === undefined ? event : { ...event, reason: `${event.reason} (pid ${pid})` }
}
