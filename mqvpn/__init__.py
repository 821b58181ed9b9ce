"""mqvpn: IP packets in MASQUE CONNECT-IP (RFC 9484) over HTTP/3, on Multipath QUIC, for Linux.

Who may import whom (tests/test_architecture.py enforces it)::

    wire  <-  connectip | multipath  <-  tunnel  <-  daemon  <-  cli (inside functions only)
    wire  <-  dataplane  <-  multipath, tunnel, daemon
    wire  <-  system     <-  daemon              config  <-  daemon, cli

wire       bytes <-> values: capsules, address lists, multipath frames, IP headers, certificates. Pure.
connectip  one CONNECT-IP session: request, addresses, routes, pool. Knows no paths.
multipath  Multipath QUIC on aioquic: the seam, paths, connection IDs, validation. Knows no IP.
dataplane  compiled. engine: every 1-RTT packet (keys, packet numbers, acks, loss, congestion control, pacing,
           queues, scheduling), no I/O, no clock. Beside it tun (virtio-net super packets), udp (GSO, GRO).
tunnel     joins them into ClientTunnel and ServerTunnel. No I/O, no clock: `now` comes in, values go out.
system     Linux: links, routes, rules, nftables, sysctls, DNS, sockets; systemd: descriptors, sd_notify, journal.
config     text once, then frozen dataclasses.
daemon     asyncio: the loop that moves packets, and the two daemons' stories.
cli        `mqvpn`, `mqvpn-server`, `mqvpn-client`, `mqvpn-setup`; `mqvpnctl`, which asks running ones; `mqvpn-dns`,
           the root part of the client's DNS.

Packets move in dataplane.mover, the compiled inner loop; daemon.pump joins it to asyncio and to the tunnel.

A packet out: Tun.read fills a batch -> Engine.from_tun: whose it is, its flow, its queue (FQ-CoDel) ->
Engine.transmit: the scheduler picks a path, each segment is cut straight into its place behind
`short header | DATAGRAM | quarter stream ID | context`, sealed there -> Sockets.send: one sendmsg a burst.

A packet in: Sockets.receive fills a batch (recvmmsg, GRO) -> Engine.receive: connection ID -> path, protection
off in place, frames apart; IP packets are checked, those of a flow that uses several paths are put back in order
(resequence; stamps towards the C mqvpn), and Tun.write coalesces neighbours of a flow into super packets; all other
frames become events -> multipath.connection -> tunnel.http3 -> connectip.session -> tunnel events -> the daemon
applies them with system.

The seam: aioquic does TLS 1.3, Initial and Handshake packets, Retry, streams and HTTP/3, but never builds or opens a
1-RTT packet. multipath.seam swaps its 1-RTT keys for a stand-in that hands the secrets to the engine, and takes
its control frames for the engine to send; a token tells when they were acknowledged or lost.

Errors by phase: at start any error is fatal and says what to do; running, one connection's error ends that
connection and a bad packet is dropped under a counted reason (wire.drop); stopping, every part is undone in reverse
order, and a failure there is logged and the next part goes on.
"""
