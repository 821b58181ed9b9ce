# The engine as other compiled modules see it.
from libc.stdint cimport uint8_t, uint32_t
from mqvpn.dataplane.packet cimport PacketBatch, PacketRefs
from mqvpn.dataplane.state cimport core_t
from mqvpn.dataplane.udp cimport Bursts, Datagrams

cdef class Engine:
    cdef core_t core
    cdef uint8_t* kept
    cdef uint32_t kept_next
    cdef uint32_t next_id

    cpdef receive(self, Datagrams datagrams, PacketRefs out, double now)
    cpdef from_tun(self, PacketBatch packets, double now)
    cpdef int transmit(self, Bursts bursts, double now)
    cpdef timeout(self, PacketRefs out, double now)
    cdef double due(self) noexcept
