/** Where servers on this machine reach the gateway. */
import type { HostPort, ListenerConfig } from '../config/config.ts'
import { hostPortText } from '../lib/host-port.ts'

/** Best in the clear, and never where only proxies may connect, if there is anything else. */
export function ownUrl(listeners: readonly ListenerConfig[], bound: readonly HostPort[]): string {
  const find = (wanted: (listener: ListenerConfig) => boolean): number =>
    listeners.findIndex((one) => one.redirect === undefined && wanted(one))
  const open = ({ proxyProtocol }: ListenerConfig): boolean => proxyProtocol === undefined
  const found = [find((one) => open(one) && one.tls === undefined), find(open), find(() => true), 0].find((at) => at >= 0) as number
  const scheme = listeners[found]?.tls === undefined ? 'http' : 'https'
  return `${scheme}://${reachable(bound[found] ?? listeners[found]?.address)}`
}

/** "Any address" is no address to connect to. */
function reachable(address: HostPort | undefined): string {
  const { host, port } = address ?? { host: '127.0.0.1', port: 80 }
  if (host === '0.0.0.0') return hostPortText({ host: '127.0.0.1', port })
  return hostPortText(host === '::' ? { host: '::1', port } : { host, port })
}
