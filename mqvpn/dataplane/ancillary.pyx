# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Endpoints <-> what sendmsg and recvmmsg speak: socket addresses and control messages (RFC 3542, section 6).

An AF_INET6 socket that also carries IPv4 takes and gives IPv4 as ::ffff:a.b.c.d, in IPV6_PKTINFO too; only
a plain AF_INET socket needs IP_PKTINFO. Writers return how many bytes of control they used, with padding.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcmp, memcpy, memset

from mqvpn.dataplane.linux cimport (
    AF_INET, AF_INET6, CMSG_DATA, CMSG_FIRSTHDR, CMSG_LEN, CMSG_NXTHDR, CMSG_SPACE, IP_PKTINFO, IP_TOS,
    IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, IPV6_PKTINFO, IPV6_TCLASS, UDP_GRO, UDP_SEGMENT, cmsghdr, htons,
    in6_pktinfo, in_pktinfo, msghdr, ntohs, sockaddr_in, sockaddr_in6
)

cdef const uint8_t* MAPPED = <const uint8_t*>b"\0\0\0\0\0\0\0\0\0\0\xff\xff"
cdef const uint8_t* UNSET = <const uint8_t*>b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"


cdef bint endpoint_mapped(const endpoint_t* endpoint) noexcept nogil:
    return memcmp(endpoint.ip, MAPPED, 12) == 0


cdef void endpoint_map(endpoint_t* endpoint, const void* ipv4) noexcept nogil:
    memcpy(endpoint.ip, MAPPED, 12)
    memcpy(&endpoint.ip[12], ipv4, 4)


cdef bint write_address(sockaddr_in6* out, const endpoint_t* endpoint, int family) noexcept nogil:
    """False: the socket cannot reach that family."""
    cdef sockaddr_in* ipv4 = <sockaddr_in*>out
    memset(out, 0, sizeof(sockaddr_in6))
    if family == AF_INET6:
        out.sin6_family = AF_INET6
        out.sin6_port = htons(endpoint.port)
        memcpy(&out.sin6_addr, endpoint.ip, 16)
        out.sin6_scope_id = endpoint.scope
        return True
    ipv4.sin_family = AF_INET
    ipv4.sin_port = htons(endpoint.port)
    memcpy(&ipv4.sin_addr, &endpoint.ip[12], 4)
    return endpoint_mapped(endpoint)


cdef void read_address(const sockaddr_in6* address, endpoint_t* out) noexcept nogil:
    cdef const sockaddr_in* ipv4 = <const sockaddr_in*>address
    memset(out, 0, sizeof(endpoint_t))
    out.port = ntohs(address.sin6_port)             # sin_port lies at the same place
    if address.sin6_family == AF_INET:
        endpoint_map(out, &ipv4.sin_addr)
        return
    memcpy(out.ip, &address.sin6_addr, 16)
    out.scope = address.sin6_scope_id


cdef size_t write_local(uint8_t* control, const endpoint_t* local, int family) noexcept nogil:
    """The source address to send from; nothing if `local` leaves it to the kernel."""
    cdef in6_pktinfo ipv6
    cdef in_pktinfo ipv4
    if memcmp(local.ip, UNSET, 16) == 0:
        return 0
    if family == AF_INET6:
        memcpy(&ipv6.ipi6_addr, local.ip, 16)
        ipv6.ipi6_ifindex = local.scope
        return write_item(control, IPPROTO_IPV6, IPV6_PKTINFO, &ipv6, sizeof(ipv6))
    memset(&ipv4, 0, sizeof(ipv4))
    memcpy(&ipv4.ipi_spec_dst, &local.ip[12], 4)
    return write_item(control, IPPROTO_IP, IP_PKTINFO, &ipv4, sizeof(ipv4))


cdef size_t write_ecn(uint8_t* control, const endpoint_t* remote, uint8_t ecn) noexcept nogil:
    """The ECN field, with DSCP 0 (RFC 3168, section 5)."""
    cdef int traffic_class = ecn
    if endpoint_mapped(remote):
        return write_item(control, IPPROTO_IP, IP_TOS, &traffic_class, sizeof(traffic_class))
    return write_item(control, IPPROTO_IPV6, IPV6_TCLASS, &traffic_class, sizeof(traffic_class))


cdef size_t write_segment(uint8_t* control, uint16_t segment) noexcept nogil:
    """Cut the message into datagrams of `segment` bytes."""
    return write_item(control, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment))


cdef size_t write_item(uint8_t* control, int level, int kind, const void* value, size_t size) noexcept nogil:
    cdef cmsghdr* item = <cmsghdr*>control
    item.cmsg_level = level
    item.cmsg_type = kind
    item.cmsg_len = CMSG_LEN(size)
    memcpy(CMSG_DATA(item), value, size)
    return CMSG_SPACE(size)


cdef void read_control(msghdr* message, datagram_t* out) noexcept nogil:
    """Local address, ECN and segment size of what was received; out.length is set already."""
    cdef cmsghdr* item = CMSG_FIRSTHDR(message)
    cdef int segment = 0
    memset(&out.local, 0, sizeof(endpoint_t))
    out.ecn = 0
    while item != NULL:
        if item.cmsg_level == IPPROTO_UDP and item.cmsg_type == UDP_GRO:
            memcpy(&segment, CMSG_DATA(item), sizeof(segment))
        elif item.cmsg_level == IPPROTO_IPV6:
            read_ipv6(item, out)
        elif item.cmsg_level == IPPROTO_IP:
            read_ipv4(item, out)
        item = CMSG_NXTHDR(message, item)
    out.segment = <uint16_t>(segment if 0 < segment < <int>out.length else out.length)


cdef inline void read_ipv6(cmsghdr* item, datagram_t* out) noexcept nogil:
    cdef const in6_pktinfo* info = <const in6_pktinfo*>CMSG_DATA(item)
    cdef int traffic_class
    if item.cmsg_type == IPV6_PKTINFO:
        memcpy(out.local.ip, &info.ipi6_addr, 16)
        if out.local.ip[0] == 0xfe and out.local.ip[1] & 0xc0 == 0x80:      # link-local: needs its interface
            out.local.scope = info.ipi6_ifindex
    elif item.cmsg_type == IPV6_TCLASS:
        memcpy(&traffic_class, CMSG_DATA(item), sizeof(traffic_class))
        out.ecn = traffic_class & 3


cdef inline void read_ipv4(cmsghdr* item, datagram_t* out) noexcept nogil:
    cdef const in_pktinfo* info = <const in_pktinfo*>CMSG_DATA(item)
    if item.cmsg_type == IP_PKTINFO:
        endpoint_map(&out.local, &info.ipi_addr)
    elif item.cmsg_type == IP_TOS:
        out.ecn = CMSG_DATA(item)[0] & 3
