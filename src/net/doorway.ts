/**
 * Connections that have to wait until they are let in. The system has accepted them already (Node.js cannot leave them in its backlog), but nothing of
 * theirs is looked at, and what they send stays, but for a first read, in the kernel's buffers.
 */
import type { NetworkSocket } from '../ports/network.ts'

/** At the pace at which they are let in that is two seconds. */
const WAITING_MAX = 1024

export class Doorway {
  /** First come, first in. */
  readonly #waiting = new Map<NetworkSocket, () => void>()

  get size(): number {
    return this.#waiting.size
  }

  /** False: too many wait already. */
  hold(socket: NetworkSocket): boolean {
    if (this.#waiting.size >= WAITING_MAX) return false
    const gone = (): void => {
      this.#waiting.delete(socket)
      socket.destroy()
    }
    socket.on('error', gone)
    socket.on('close', gone)
    this.#waiting.set(socket, gone)
    return true
  }

  /** Those that have waited longest. */
  take(count: number): readonly NetworkSocket[] {
    const taken = [...this.#waiting].slice(0, count)
    for (const [socket, gone] of taken) {
      this.#waiting.delete(socket)
      socket.off('error', gone).off('close', gone)
    }
    return taken.map(([socket]) => socket)
  }
}
