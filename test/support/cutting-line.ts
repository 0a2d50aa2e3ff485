/** A network that cuts connections: bytes pass as they are, until so many of the gateway's have come on one connection. Works for everything on TCP. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface CuttingLine extends AsyncDisposable {
  readonly port: number
  readonly url: string
  /** How many bytes of the gateway's pass on the next connection before it is reset; undefined: all. */
  bytesOfNext: () => number | undefined
  /** Connections that were cut. */
  readonly cuts: number
  /** Whoever is connected is cut off. */
  cutAll(): void
}

export async function startCuttingLine(target: string): Promise<CuttingLine> {
  const { hostname, port: targetPort } = new URL(target)
  const open = new Set<Socket>()
  let cuts = 0
  const server = createServer({ noDelay: true }, (client) => {
    const gateway = connect({ host: hostname, port: Number(targetPort), noDelay: true })
    let left = line.bytesOfNext() ?? Number.POSITIVE_INFINITY
    open.add(client)
    const over = (): void => {
      open.delete(client)
      client.destroy()
      gateway.destroy()
    }
    for (const socket of [client, gateway]) socket.on('error', over).on('close', over)
    client.pipe(gateway)
    gateway.on('data', (chunk: Buffer) => {
      client.write(chunk.subarray(0, left))
      left -= chunk.length
      if (left > 0 || client.destroyed) return
      cuts++
      // What was written before arrives; then the connection breaks.
      client.end(over)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const line: CuttingLine = {
    port,
    url: `http://127.0.0.1:${port}`,
    bytesOfNext: () => undefined,
    get cuts() {
      return cuts
    },
    cutAll() {
      for (const socket of open) {
        cuts++
        socket.resetAndDestroy()
      }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return line
}
