/** The first port that nobody listens on. Between asking and using it somebody else may take it; then the start fails and says so. */
import { createServer } from 'node:net'

const TRIES = 100

export async function freePort(first: number): Promise<number | undefined> {
  for (let port = first; port < first + TRIES && port <= 65_535; port++) if (await isFree(port)) return port
  return undefined
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  return await new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
