/** A configuration as a module: what YAML can say, with the help of an editor and of a program. Try: npm run -s spillway -- check examples/spillway.config.ts */
import { defineConfig } from 'spillway'

const ports = [3001, 3002, 3003]

export default defineConfig({
  pools: { api: ports.map((port) => `http://127.0.0.1:${port}`) },
  queues: { reports: { concurrency: 2, timeout: '5m' } },
  routes: [{ match: 'POST /reports', mode: 'queue' }, { match: 'POST /orders/{id}', mode: 'spill', key: 'path:id' }, { match: '/*' }],
})
