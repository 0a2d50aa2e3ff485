/** One gateway's lives on one folder: begun, killed at a random moment, looked into, begun again. */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { ConfigFile } from '../../src/config/schema.ts'
import { formatJobId } from '../../src/core/jobs/job-id.ts'
import { type ChildGateway, spawnGateway, startGateway } from '../support/child-gateway.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { until } from '../support/until.ts'
import type { Life } from './history.ts'

/** Some kills come while it starts. */
const EARLY_KILLS = 0.2
const START_MS = 400
const LIFE_MS = 600

export class GatewayLives {
  readonly all: Life[] = []
  readonly #folder: string
  readonly #config: ConfigFile
  #gateway: ChildGateway | undefined

  constructor(folder: string, servers: string[], engine: 'embedded' | 'memory') {
    this.#folder = folder
    this.#config = {
      store: { engine, path: './data' },
      pools: { api: { servers, slowStart: '0ms' } },
      queues: { work: { concurrency: 4, backoff: { base: '50ms', max: '1s' } } },
      routes: [
        { match: 'POST /work', mode: 'queue', key: 'header:X-Key' },
        { match: 'POST /once', mode: 'queue', queue: 'work', redeliver: 'safe' },
      ],
    }
  }

  /** Of the one that listens now. */
  get url(): string | undefined {
    return this.#gateway?.started === true ? this.#gateway.url : undefined
  }

  /** `mayDie`: it lives until then at least. */
  async liveAndDie(random: SeededRandom, mayDie: () => boolean = () => true): Promise<void> {
    const name = `life-${this.all.length}`
    const early = random.chance(EARLY_KILLS)
    const forMs = random.integer(early ? START_MS : LIFE_MS)
    const gateway = spawnGateway(this.#config, { folder: this.#folder, name })
    this.#gateway = gateway
    if (!early) await until('the gateway listens', () => gateway.started)
    await new Promise((resolve) => setTimeout(resolve, forMs))
    await until('it may die', mayDie)
    this.#gateway = undefined
    await gateway.kill()
    this.all.push({ name, inFlightAtKill: this.#inFlight() })
  }

  async begin(): Promise<void> {
    const name = `life-${this.all.length}`
    this.#gateway = await startGateway(this.#config, { folder: this.#folder, name })
    this.all.push({ name, inFlightAtKill: undefined })
  }

  async end(): Promise<void> {
    const gateway = this.#gateway
    this.#gateway = undefined
    gateway?.signal('SIGTERM')
    const exit = await gateway?.exited
    if (exit?.code !== 0) throw new Error(`the gateway ended with ${JSON.stringify(exit)}: ${gateway?.errors}`)
  }

  /** Jobs that were handed out and not settled: read in a copy, so that the next life finds exactly what the kill left. */
  #inFlight(): ReadonlySet<string> {
    const copy = mkdtempSync(join(this.#folder, 'copy-'))
    for (const file of ['store.db', 'store.db-wal']) {
      const path = join(this.#folder, 'data', file)
      if (existsSync(path)) copyFileSync(path, join(copy, file))
    }
    const db = new DatabaseSync(join(copy, 'store.db'))
    try {
      const tables = db.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'runnable'").get()
      if (tables?.['n'] === 0) return new Set()
      const rows = db.prepare('SELECT seq FROM runnable WHERE server IS NOT NULL').all()
      return new Set(rows.map((row) => formatJobId(Number(row['seq']))))
    } finally {
      db.close()
      rmSync(copy, { recursive: true })
    }
  }
}
