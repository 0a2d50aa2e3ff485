/** What a supervisor has bound is known by where it is bound. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { activatedSockets, boundAddress } from './activation.ts'

const TABLE = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1F90 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000000000000000 100 0 0 10 0
`
const TABLE_6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99 1 0
   1: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 98 1 0
   2: B80D0120000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 97 1 0
`

test('the address of a socket that listens is read from the tables of the kernel', () => {
  assert.equal(boundAddress(TABLE, '4711'), '127.0.0.1:8080')
  assert.equal(boundAddress(TABLE, '4712'), '0.0.0.0:80')
  assert.equal(boundAddress(TABLE, '4713'), undefined, 'a connection is none')
  assert.equal(boundAddress(TABLE, '471'), undefined)
  assert.equal(boundAddress(TABLE_6, '99'), '[::1]:443')
  assert.equal(boundAddress(TABLE_6, '98'), '[::]:443')
  assert.equal(boundAddress(TABLE_6, '97'), '[2001:db8::1]:443')
})

test('sockets that are for another process, or that are none, are not taken', () => {
  assert.deepEqual(activatedSockets({}, 7), { sockets: [] })
  assert.deepEqual(activatedSockets({ LISTEN_FDS: '1', LISTEN_PID: '8' }, 7), { sockets: [] })
  assert.deepEqual(activatedSockets({ LISTEN_FDS: '1' }, 7), { sockets: [] })
  for (const count of ['0', 'x', '-1', '1.5', '99999'])
    assert.match(
      (activatedSockets({ LISTEN_FDS: count, LISTEN_PID: '7' }, 7) as { wrong: string }).wrong,
      /^LISTEN_FDS is a number of sockets/,
    )
  assert.match(
    (activatedSockets({ LISTEN_FDS: '999', LISTEN_PID: '7' }, 7) as { wrong: string }).wrong,
    /^file descriptor \d+ \(LISTEN_FDS=999\) is no TCP socket that listens$/,
  )
})
