/** Addresses and networks: which peers are meant by a list of them, and what an address is called. */
import { BlockList, isIP, isIPv6 } from 'node:net'

/** `1.2.3.4`, `10.0.0.0/8`, `fd00::/8`: checked before. */
export function networkList(blocks: readonly string[]): BlockList {
  const list = new BlockList()
  for (const block of blocks) {
    const [address = '', prefix] = block.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(prefix), family)
  }
  return list
}

export function isInside(list: BlockList, address: string): boolean {
  return isIP(address) !== 0 && list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

/** IPv4 in IPv6 clothes is IPv4. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}
