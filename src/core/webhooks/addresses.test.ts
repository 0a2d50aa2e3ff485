import assert from 'node:assert/strict'
import { BlockList, isIP, isIPv6 } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { isLoopbackAddress, parseAddress, parseNetwork, readAllowList, refusedAddress } from './addresses.ts'

const NOTHING = readAllowList([])

test('addresses that are not for everybody are refused, at both ends of each range', () => {
  const refused = [
    ...['0.0.0.0', '0.255.255.255', '10.0.0.0', '10.255.255.255', '100.64.0.0', '100.127.255.255', '127.0.0.1', '127.255.255.255'],
    ...['169.254.0.0', '169.254.169.254', '172.16.0.0', '172.31.255.255', '192.0.0.0', '192.0.0.255', '192.0.2.1', '192.168.0.0'],
    ...['192.168.255.255', '198.18.0.0', '198.19.255.255', '198.51.100.7', '203.0.113.9', '224.0.0.1', '239.255.255.255'],
    ...['240.0.0.0', '255.255.255.255', '168.63.129.16'],
    ...['::', '::1', '::2', 'fc00::', 'fdff:ffff::1', 'fe80::1', 'febf::1', 'fe80::1%eth0', 'fec0::1', 'ff02::1', '2001:db8::1', '3fff::1'],
    ...['100::1', '4000::1', 'fd00:ec2::254'],
  ]
  for (const address of refused) assert.notEqual(refusedAddress(address, address, NOTHING), undefined, address)
})

test('neighbours of those ranges are for everybody', () => {
  const good = [
    ...['1.0.0.0', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255', '128.0.0.0', '169.253.255.255'],
    ...['169.255.0.0', '172.15.255.255', '172.32.0.0', '192.0.1.0', '192.167.255.255', '192.169.0.0', '198.17.255.255', '198.20.0.0'],
    ...['223.255.255.255', '8.8.8.8', '2606:4700::1111', '2a00::1', '2001:200::1', '2003::1'],
  ]
  for (const address of good) assert.equal(refusedAddress(address, address, NOTHING), undefined, address)
})

test('an IPv4 address in an IPv6 address opens nothing, and is judged by itself where its network is allowed', () => {
  const embedding = [
    ...['::ffff:10.0.0.1', '::ffff:a00:1', '::10.0.0.1', '::ffff:0:10.0.0.1', '64:ff9b::10.0.0.1', '2002:a00:1::1', '2002:a9fe:a9fe::1'],
    ...['2001:0:a00:1::1', '2001:0:808:808:0:0:f5ff:fffe'],
  ]
  for (const address of embedding) assert.notEqual(refusedAddress(address, address, NOTHING), undefined, address)
  assert.equal(refusedAddress('::ffff:8.8.8.8', '', NOTHING), 'an IPv4 address in an IPv6 address')
  const translated = readAllowList(['64:ff9b::/96'])
  assert.equal(refusedAddress('64:ff9b::8.8.8.8', '', translated), undefined)
  assert.match(refusedAddress('64:ff9b::10.0.0.1', '', translated) as string, /private address in an IPv6/)
  assert.match(refusedAddress('64:ff9b::169.254.169.254', '', translated) as string, /metadata/)
})

test('what is allowed may be reached: an address, a network, a name; a metadata address only by itself', () => {
  const allow = readAllowList(['10.1.0.0/16', '192.168.7.7', 'Hooks.Internal', 'fd00::/8', '169.254.0.0/16', '0.0.0.0/0'])
  for (const address of ['10.1.2.3', '192.168.7.7', 'fd00::9', '127.0.0.1'])
    assert.equal(refusedAddress(address, address, allow), undefined, address)
  assert.equal(refusedAddress('172.16.0.1', 'hooks.internal.', readAllowList(['hooks.internal'])), undefined)
  assert.notEqual(refusedAddress('172.16.0.1', 'other.internal', readAllowList(['hooks.internal'])), undefined)
  for (const address of ['169.254.169.254', 'fd00:ec2::254', '100.100.100.200']) {
    assert.match(refusedAddress(address, 'hooks.internal', allow) as string, /metadata/)
    assert.equal(refusedAddress(address, 'x', readAllowList([address])), undefined)
  }
})

test('what is no address is refused', () => {
  for (const text of ['', 'example.com', '1.2.3', '1.2.3.256', '01.2.3.4', '1.2.3.4.', ':::', '1::2::3', '12345::', '::1.2.3', '[::1]'])
    assert.equal(refusedAddress(text, text, NOTHING), 'no IP address', text)
})

const v4 = fc.ipV4()
const v6 = fc.ipV6()

test('addresses are read as Node reads them', () => {
  const nearly = fc.oneof(v4, v6, fc.stringMatching(/^[0-9a-f.:]{0,20}$/), fc.stringMatching(/^(::)?(ffff:)?\d{1,3}(\.\d{1,3}){3}$/))
  fc.assert(
    fc.property(nearly, (text) => {
      assert.equal(parseAddress(text)?.length, { 0: undefined, 4: 4, 6: 16 }[isIP(text)], text)
    }),
    { numRuns: 5000 },
  )
})

test('networks hold what they hold for Node, and mapped addresses are refused like those within', () => {
  const prefix = fc.tuple(v4, fc.integer({ min: 0, max: 32 }))
  fc.assert(
    fc.property(prefix, v4, ([address, bits], asked) => {
      const list = new BlockList()
      list.addSubnet(address, bits, 'ipv4')
      const wasRefused = refusedAddress(asked, '', NOTHING)
      const isAllowed = list.check(asked, 'ipv4') && !(wasRefused?.includes('metadata') === true && bits < 32)
      const expected = wasRefused === undefined || isAllowed
      assert.equal(refusedAddress(asked, '', readAllowList([`${address}/${bits}`])) === undefined, expected)
      assert.notEqual(refusedAddress(`::ffff:${asked}`, '', NOTHING), undefined)
    }),
    { numRuns: 2000 },
  )
})

test('of IPv6 only global unicast is left, by the list of Node', () => {
  const good = new BlockList()
  good.addSubnet('2000::', 3, 'ipv6')
  const bad = new BlockList()
  for (const [network, bits] of [
    ['2001::', 23],
    ['2001:db8::', 32],
    ['2002::', 16],
    ['3fff::', 20],
  ] as const)
    bad.addSubnet(network, bits, 'ipv6')
  const asked = fc.oneof(
    v6,
    fc.stringMatching(/^2[0-9a-f]{3}:[0-9a-f]{1,4}::[0-9a-f]{1,4}$/),
    fc.stringMatching(/^200[0-3]:[0-9a-f]{1,4}::$/),
  )
  fc.assert(
    fc.property(asked, (address) => {
      fc.pre(isIPv6(address))
      const expected = good.check(address, 'ipv6') && !bad.check(address, 'ipv6')
      assert.equal(refusedAddress(address, '', NOTHING) === undefined, expected, address)
    }),
    { numRuns: 5000 },
  )
})

test('a network is an address with a length that fits', () => {
  assert.deepEqual(parseNetwork('10.0.0.0/8'), { address: [10, 0, 0, 0], bits: 8 })
  assert.equal(parseNetwork('10.0.0.1')?.bits, 32)
  assert.equal(parseNetwork('::/0')?.bits, 0)
  for (const text of ['10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/8/8', 'a/8', '10.0.0.0/-1', 'fe80::1%eth0/64'])
    assert.equal(parseNetwork(text), undefined, text)
})

test('loopback is known in both families', () => {
  for (const address of ['127.0.0.1', '127.9.9.9', '::1', '0:0:0:0:0:0:0:1']) assert.ok(isLoopbackAddress(address), address)
  for (const address of ['128.0.0.1', '::2', 'localhost', '::ffff:127.0.0.1']) assert.ok(!isLoopbackAddress(address), address)
})
