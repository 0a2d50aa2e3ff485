/** What the demo prints first: where everything is, and four commands to paste into a second terminal. */
import { shellWord } from '../words.ts'

export interface BannerFacts {
  readonly port: number
  readonly adminPort: number
  readonly dataFolder: string
  readonly gatewayPid: number
  readonly serverPids: Readonly<Record<string, number>>
  readonly backAfterSeconds: number
}

export function bannerText(facts: BannerFacts): string {
  const { port, adminPort, dataFolder, gatewayPid, serverPids, backAfterSeconds } = facts
  const servers = Object.entries(serverPids).map(([name, pid]) => `${name} ${pid}`)
  const pids = Object.values(serverPids).join(' ')
  const busy = `${shellWord(dataFolder)}/busy`
  const report = `2  curl -N localhost:${port}/reports -H 'Prefer: respond-async, events' -d '{"title":"Q3"}'`
  const orders = `3  kill -9 ${pids}; time curl -i localhost:${port}/orders -d tea=1`
  const width = Math.max(report.length, orders.length) + 5
  return `Spillway demo  http://127.0.0.1:${port}   admin http://127.0.0.1:${adminPort}   data ${dataFolder}
gateway pid ${gatewayPid} | servers ${servers.join(', ')} | whatever you kill comes back after ${backAfterSeconds} s
${`1  curl localhost:${port}/hello`.padEnd(63)}# again: another server answers
${report.padEnd(width)}# kill the server that works on it: kill -9 $(cat ${busy})
${orders.padEnd(width)}# nothing is alive, and yet, after ${backAfterSeconds} s: 200
4  the same as 2, then kill -9 ${gatewayPid} (the gateway), then curl the link that 2 printed first: the job is still there
`
}
