# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Datagrams received in batches (recvmmsg, UDP_GRO) and bursts to send (sendmsg, UDP_SEGMENT).

A datagram that the kernel refuses to send is a lost datagram: counted, never raised. A kernel or a device
that refuses UDP_SEGMENT is noticed and that socket sends with sendmmsg from then on. The local address
travels both ways (IP_PKTINFO, IPV6_PKTINFO), so that a wildcard socket answers from the address it was
asked on.
"""

from libc.errno cimport EAGAIN, EINVAL, EIO, errno
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from mqvpn.dataplane.ancillary cimport (
    endpoint_map, endpoint_mapped, read_address, read_control, write_address, write_ecn, write_local, write_segment
)
from mqvpn.dataplane.linux cimport (
    AF_INET, AF_INET6, IP_PKTINFO, IP_RECVTOS, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, IPV6_RECVPKTINFO,
    IPV6_RECVTCLASS, MSG_DONTWAIT, UDP_GRO, UDP_SEGMENT, getsockname, if_nametoindex, inet_ntop, inet_pton,
    msghdr, ntohs, recvmmsg, sendmmsg, sendmsg, setsockopt, sockaddr, sockaddr_in6, socklen_t
)

import os

from mqvpn.wire.drop import Drop

cdef enum:
    PAYLOAD_BYTES = 65487       # of one sendmsg: fits IPv4 and IPv6


# Endpoints

cdef int endpoint_from_python(endpoint_t* out, object endpoint) except -1:
    """From (address, port); "::" and 0 port stand for "not known". ValueError: not an IP address."""
    cdef str host, address, zone
    cdef uint16_t port
    cdef uint8_t ipv4[4]
    host, port = endpoint
    address, _, zone = host.partition("%")
    memset(out, 0, sizeof(endpoint_t))
    out.port = port
    if inet_pton(AF_INET, address.encode(), ipv4) == 1:
        endpoint_map(out, ipv4)
        return 0
    if inet_pton(AF_INET6, address.encode(), out.ip) != 1:
        raise ValueError(f"not an IP address: {host}")
    if zone:
        out.scope = int(zone) if zone.isdigit() else if_nametoindex(zone.encode())
    return 0


cdef object endpoint_to_python(const endpoint_t* endpoint):
    cdef char text[64]
    if endpoint_mapped(endpoint):
        inet_ntop(AF_INET, &endpoint.ip[12], text, sizeof(text))
    else:
        inet_ntop(AF_INET6, endpoint.ip, text, sizeof(text))
    host = text.decode()
    return (f"{host}%{endpoint.scope}" if endpoint.scope else host), endpoint.port


cdef list split(int socket, const endpoint_t* remote, const endpoint_t* local, const uint8_t* data,
                uint32_t length, uint32_t segment):
    """(socket, remote, local, datagram) for each of the segments."""
    cdef uint32_t at
    ends = (socket, endpoint_to_python(remote), endpoint_to_python(local))
    return [(*ends, <bytes>data[at:min(at + segment, length)]) for at in range(0, length, segment)]


# Batches

cdef class Datagrams:
    """One receive batch."""

    def __cinit__(self) -> None:
        cdef int i
        self.items = <datagram_t*>malloc(RECEIVE_SLOTS * (sizeof(datagram_t) + SLOT_BYTES))
        if self.items == NULL:
            raise MemoryError
        memset(self.items, 0, RECEIVE_SLOTS * sizeof(datagram_t))
        self.capacity = RECEIVE_SLOTS
        for i in range(self.capacity):
            self.items[i].data = <uint8_t*>&self.items[self.capacity] + i * SLOT_BYTES

    def __dealloc__(self) -> None:
        free(self.items)

    def __len__(self) -> int:
        return self.count

    def clear(self) -> None:
        """Forget all slots."""
        self.count = 0

    def append(self, int socket, remote, local, bytes data not None, int segment = 0, int ecn = 0) -> None:
        """Fill the next slot with one datagram, or with equal ones of `segment` bytes. ValueError: full."""
        cdef datagram_t* slot
        if self.count == self.capacity or not 0 < len(data) < 65536:
            raise ValueError(f"a batch holds {self.capacity} slots of 1 to 65535 bytes")
        slot = &self.items[self.count]
        endpoint_from_python(&slot.remote, remote)
        endpoint_from_python(&slot.local, local)
        memcpy(slot.data, <const uint8_t*>data, len(data))
        slot.length = <uint32_t>len(data)
        slot.segment = <uint16_t>(segment or len(data))
        slot.socket = <uint8_t>socket
        slot.ecn = ecn & 3
        self.count += 1

    def datagrams(self) -> list:
        """(socket, remote, local, datagram) for each datagram, slots split into their segments."""
        cdef datagram_t* slot
        cdef int i
        result = []
        for i in range(self.count):
            slot = &self.items[i]
            result += split(slot.socket, &slot.remote, &slot.local, slot.data, slot.length, slot.segment)
        return result

    def ecn(self) -> list[int]:
        """The ECN field of each slot (RFC 3168, section 5)."""
        cdef int i
        return [self.items[i].ecn for i in range(self.count)]


cdef class Bursts:
    """What is to be sent now."""

    def __cinit__(self) -> None:
        cdef int i
        self.items = <burst_t*>malloc(SEND_SLOTS * (sizeof(burst_t) + SLOT_BYTES))
        if self.items == NULL:
            raise MemoryError
        memset(self.items, 0, SEND_SLOTS * sizeof(burst_t))
        self.capacity = SEND_SLOTS
        for i in range(self.capacity):
            self.items[i].data = <uint8_t*>&self.items[self.capacity] + i * SLOT_BYTES

    def __dealloc__(self) -> None:
        free(self.items)

    def __len__(self) -> int:
        return self.count

    def clear(self) -> None:
        """Forget all bursts."""
        self.count = 0

    def append(self, int socket, remote, local, bytes data not None, int segment = 0) -> None:
        """Add datagrams, Not-ECT, of `segment` bytes; local ("::", 0): the kernel chooses. ValueError: full."""
        cdef burst_t* slot
        if self.count == self.capacity or not 0 < len(data) <= SLOT_BYTES or not 0 <= segment < 65536:
            raise ValueError(f"at most {self.capacity} bursts of 1 to {SLOT_BYTES} bytes")
        slot = &self.items[self.count]
        endpoint_from_python(&slot.remote, remote)
        endpoint_from_python(&slot.local, local)
        memcpy(slot.data, <const uint8_t*>data, len(data))
        slot.length = <uint32_t>len(data)
        slot.segment = <uint16_t>(segment or min(len(data), 65535))
        slot.socket = <uint8_t>socket
        slot.ecn = 0
        self.count += 1

    def datagrams(self) -> list:
        """(socket, remote, local, datagram) for each datagram of each burst."""
        cdef burst_t* slot
        cdef int i
        result = []
        for i in range(self.count):
            slot = &self.items[i]
            result += split(slot.socket, &slot.remote, &slot.local, slot.data, slot.length, slot.segment)
        return result

    def ecn(self) -> list[int]:
        """The ECN field of each datagram of each burst (RFC 3168, section 5)."""
        cdef burst_t* slot
        cdef int i
        result = []
        for i in range(self.count):
            slot = &self.items[i]
            result += [slot.ecn] * ((slot.length + slot.segment - 1) // slot.segment)
        return result


# Sockets

cdef class Sockets:
    """The UDP sockets, named 0 to 15. Descriptors stay the caller's."""

    def __cinit__(self) -> None:
        cdef int i
        for i in range(SOCKETS):
            self.sockets[i].fd = -1
        for i in range(RECEIVE_SLOTS):
            self.receive_vectors[i].iov_len = SLOT_BYTES
            self.received[i].msg_hdr.msg_iov = &self.receive_vectors[i]
            self.received[i].msg_hdr.msg_iovlen = 1
            self.received[i].msg_hdr.msg_name = &self.senders[i]
            self.received[i].msg_hdr.msg_control = self.receive_control[i]
        for i in range(SEGMENTS):
            self.parts[i].msg_hdr.msg_iov = &self.vectors[i]
            self.parts[i].msg_hdr.msg_iovlen = 1
            self.parts[i].msg_hdr.msg_name = &self.destination
            self.parts[i].msg_hdr.msg_namelen = sizeof(self.destination)    # AF_INET looks at its part of it
            self.parts[i].msg_hdr.msg_control = self.control

    def add(self, int socket, int fd, int family, bint gso = True, bint gro = True) -> None:
        """Use a bound UDP socket under this name. OSError: the kernel cannot report local addresses."""
        cdef sockaddr_in6 bound
        cdef socklen_t size = sizeof(bound)
        cdef socket_t* entry = self.entry(socket)
        if getsockname(fd, <sockaddr*>&bound, &size) != 0:
            raise OSError(errno, os.strerror(errno))
        if family == AF_INET6:
            require_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO)
            require_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS)
        else:
            require_option(fd, IPPROTO_IP, IP_PKTINFO)
        require_option(fd, IPPROTO_IP, IP_RECVTOS)
        entry.fd = fd
        entry.family = family
        entry.port = ntohs(bound.sin6_port)             # sin_port lies at the same place
        entry.gro = set_option(fd, IPPROTO_UDP, UDP_GRO, gro) and gro
        entry.gso = gso and set_option(fd, IPPROTO_UDP, UDP_SEGMENT, 0)     # 0: by message only

    def remove(self, int socket) -> None:
        """Forget the socket; bursts for it are dropped from now on."""
        self.entry(socket).fd = -1

    def drops(self) -> dict[int, int]:
        """Datagrams given up since the start, by Drop."""
        return {int(Drop.SOCKET_SEND): self.send_drops}

    def offloads(self) -> dict[int, tuple[bool, bool]]:
        """(sends with UDP_SEGMENT, receives with UDP_GRO) of each socket."""
        cdef int i
        return {i: (bool(self.sockets[i].gso), bool(self.sockets[i].gro))
                for i in range(SOCKETS) if self.sockets[i].fd >= 0}

    cdef socket_t* entry(self, int socket) except NULL:
        if not 0 <= socket < SOCKETS:
            raise ValueError(f"socket {socket} is not within 0 to {SOCKETS - 1}")
        return &self.sockets[socket]

    # Receiving

    cpdef int receive(self, int socket, Datagrams batch) except -1:
        """Replace the batch by what has arrived, at most 8 slots; the number of slots, 0: nothing (more)."""
        cdef socket_t* entry = self.entry(socket)
        self.receive_batch(entry, <uint8_t>socket, batch.items, batch.capacity, &batch.count)
        return batch.count

    cdef void receive_batch(
        self, const socket_t* entry, uint8_t socket, datagram_t* slots, int capacity, int* count
    ) noexcept nogil:
        cdef datagram_t* slot
        cdef int i, arrived
        count[0] = 0
        for i in range(capacity):
            self.receive_vectors[i].iov_base = slots[i].data
            self.received[i].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
            self.received[i].msg_hdr.msg_controllen = sizeof(self.receive_control[0])
        arrived = recvmmsg(entry.fd, self.received, capacity, MSG_DONTWAIT, NULL)
        for i in range(arrived):
            if self.received[i].msg_len == 0:
                continue
            slot = &slots[count[0]]
            slot.data, slots[i].data = slots[i].data, slot.data     # over a slot with an empty datagram
            slot.length = self.received[i].msg_len
            slot.socket = socket
            read_address(&self.senders[i], &slot.remote)
            read_control(&self.received[i].msg_hdr, slot)
            slot.local.port = entry.port
            count[0] += 1

    # Sending

    cpdef int send(self, Bursts bursts):
        """Send all bursts, which are empty afterwards; the number of datagrams the kernel took."""
        cdef uint32_t sent = 0
        cdef int i
        for i in range(bursts.count):
            sent += self.send_burst(&bursts.items[i])
        bursts.count = 0
        return sent

    cdef uint32_t send_burst(self, const burst_t* burst) noexcept nogil:
        """Send one burst in as few pieces as the kernel takes; the number of datagrams it took."""
        cdef socket_t* entry = &self.sockets[burst.socket % SOCKETS]
        cdef uint32_t segment = burst.segment, at = 0, sent = 0, step, length, count, took
        cdef size_t control
        if segment == 0 or segment > PAYLOAD_BYTES:
            self.send_drops += 1
            return 0
        if not write_address(&self.destination, &burst.remote, entry.family):
            self.send_drops += (burst.length + segment - 1) // segment
            return 0
        control = write_local(<uint8_t*>self.control, &burst.local, entry.family)
        if burst.ecn:
            control += write_ecn(<uint8_t*>self.control + control, &burst.remote, burst.ecn)
        step = segment * min(<uint32_t>SEGMENTS, PAYLOAD_BYTES // segment)
        while at < burst.length:
            length = min(step, burst.length - at)
            count = (length + segment - 1) // segment
            took = self.send_piece(entry, burst.data + at, length, segment, count, control)
            self.send_drops += count - took
            sent += took
            at += length
        return sent

    cdef uint32_t send_piece(
        self, socket_t* entry, uint8_t* data, uint32_t length, uint32_t segment, uint32_t count,
        size_t control
    ) noexcept nogil:
        cdef int refused
        cdef uint32_t took
        if count == 1 or not entry.gso:
            return self.send_each(entry, data, length, segment, count, control)
        if self.send_segmented(entry, data, length, segment, control):
            return count
        refused = errno
        if refused != EIO and refused != EINVAL:
            return 0
        took = self.send_each(entry, data, length, segment, count, control)
        if refused == EIO or took == count:     # EINVAL alone may mean a segment above the path MTU
            entry.gso = False
        return took

    cdef bint send_segmented(
        self, const socket_t* entry, uint8_t* data, uint32_t length, uint32_t segment, size_t control
    ) noexcept nogil:
        cdef msghdr* message = &self.parts[0].msg_hdr
        message.msg_controllen = control + write_segment(<uint8_t*>self.control + control, <uint16_t>segment)
        self.vectors[0].iov_base = data
        self.vectors[0].iov_len = length
        return sendmsg(entry.fd, message, MSG_DONTWAIT) >= 0

    cdef uint32_t send_each(
        self, const socket_t* entry, uint8_t* data, uint32_t length, uint32_t segment, uint32_t count,
        size_t control
    ) noexcept nogil:
        cdef uint32_t i, done = 0, took = 0
        cdef int result
        for i in range(count):
            self.vectors[i].iov_base = data + i * segment
            self.vectors[i].iov_len = min(segment, length - i * segment)
            self.parts[i].msg_hdr.msg_controllen = control
        while done < count:
            result = sendmmsg(entry.fd, &self.parts[done], count - done, MSG_DONTWAIT)
            if result > 0:
                done += result
                took += result
            elif errno == EAGAIN:
                break
            else:
                done += 1
        return took


cdef bint set_option(int fd, int level, int option, int value) noexcept:
    return setsockopt(fd, level, option, &value, sizeof(value)) == 0


cdef int require_option(int fd, int level, int option) except -1:
    if not set_option(fd, level, option, 1):
        raise OSError(errno, os.strerror(errno))
    return 0
