# Datagrams received in batches (GRO) and bursts to send (GSO).
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from mqvpn.dataplane.linux cimport iovec, mmsghdr, sockaddr_in6

cdef enum:
    RECEIVE_SLOTS = 8
    SEND_SLOTS = 8
    SLOT_BYTES = 66000
    SOCKETS = 16
    SEGMENTS = 64               # of one sendmsg: UDP_MAX_SEGMENTS of the oldest kernels with UDP_SEGMENT
    CONTROL_WORDS = 16          # of size_t, for alignment: the control messages of one message, both ways

cdef struct endpoint_t:         # 24 bytes, compared by memcmp
    uint8_t ip[16]              # IPv4 as ::ffff:a.b.c.d
    uint32_t scope
    uint16_t port               # host order
    uint16_t pad                # 0

cdef struct datagram_t:         # one receive slot: equal segments, the last may be shorter
    endpoint_t remote
    endpoint_t local
    uint8_t* data
    uint32_t length
    uint16_t segment            # bytes of each datagram; == length when there is one
    uint8_t socket
    uint8_t ecn

cdef struct burst_t:            # one sendmsg: equal segments, the last may be shorter
    endpoint_t remote
    endpoint_t local            # ip all zero: the kernel chooses
    uint8_t* data
    uint32_t length
    uint16_t segment
    uint8_t socket
    uint8_t ecn                 # RFC 3168, section 5

cdef class Datagrams:
    cdef datagram_t* items
    cdef int count
    cdef int capacity

cdef class Bursts:
    cdef burst_t* items
    cdef int count
    cdef int capacity

cdef struct socket_t:
    int fd                      # -1: no such socket
    int family
    uint16_t port               # bound to
    bint gso                    # UDP_SEGMENT works
    bint gro

cdef class Sockets:
    cdef socket_t sockets[SOCKETS]
    cdef uint64_t send_drops
    cdef mmsghdr received[RECEIVE_SLOTS]
    cdef iovec receive_vectors[RECEIVE_SLOTS]
    cdef sockaddr_in6 senders[RECEIVE_SLOTS]
    cdef size_t receive_control[RECEIVE_SLOTS][CONTROL_WORDS]
    cdef mmsghdr parts[SEGMENTS]                # without UDP_SEGMENT: one message a datagram
    cdef iovec vectors[SEGMENTS]
    cdef sockaddr_in6 destination
    cdef size_t control[CONTROL_WORDS]

    cpdef int receive(self, int socket, Datagrams batch) except -1
    cpdef int send(self, Bursts bursts)
    cdef socket_t* entry(self, int socket) except NULL
    cdef void receive_batch(
        self, const socket_t* entry, uint8_t socket, datagram_t* slots, int capacity, int* count
    ) noexcept nogil
    cdef uint32_t send_burst(self, const burst_t* burst) noexcept nogil
    cdef uint32_t send_piece(
        self, socket_t* entry, uint8_t* data, uint32_t length, uint32_t segment, uint32_t count,
        size_t control
    ) noexcept nogil
    cdef bint send_segmented(
        self, const socket_t* entry, uint8_t* data, uint32_t length, uint32_t segment, size_t control
    ) noexcept nogil
    cdef uint32_t send_each(
        self, const socket_t* entry, uint8_t* data, uint32_t length, uint32_t segment, uint32_t count,
        size_t control
    ) noexcept nogil

cdef int endpoint_from_python(endpoint_t* out, object endpoint) except -1
cdef object endpoint_to_python(const endpoint_t* endpoint)
