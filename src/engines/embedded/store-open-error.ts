/** Why a store could not be opened, in one line for the person who started the gateway. */
export class StoreOpenError extends Error {
  override readonly name = 'StoreOpenError'
  readonly path: string
  readonly reason: string

  constructor(path: string, reason: string) {
    super(`cannot open the store at ${path}: ${reason}`)
    this.path = path
    this.reason = reason
  }
}
