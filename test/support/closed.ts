/** The end of a connection, orderly or not: `once(socket, 'close')` would reject where it was reset. */
import type { Duplex } from 'node:stream'

export function closed(socket: Duplex): Promise<void> {
  socket.on('error', () => undefined)
  return new Promise((resolve) => void socket.once('close', () => resolve()))
}
