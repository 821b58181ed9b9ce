# Endpoints <-> what sendmsg and recvmmsg speak: socket addresses and control messages.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from mqvpn.dataplane.linux cimport msghdr, sockaddr_in6
from mqvpn.dataplane.udp cimport datagram_t, endpoint_t

cdef bint endpoint_mapped(const endpoint_t* endpoint) noexcept nogil        # IPv4
cdef void endpoint_map(endpoint_t* endpoint, const void* ipv4) noexcept nogil
cdef bint write_address(sockaddr_in6* out, const endpoint_t* endpoint, int family) noexcept nogil
cdef void read_address(const sockaddr_in6* address, endpoint_t* out) noexcept nogil
cdef size_t write_local(uint8_t* control, const endpoint_t* local, int family) noexcept nogil
cdef size_t write_ecn(uint8_t* control, const endpoint_t* remote, uint8_t ecn) noexcept nogil
cdef size_t write_segment(uint8_t* control, uint16_t segment) noexcept nogil
cdef void read_control(msghdr* message, datagram_t* out) noexcept nogil
