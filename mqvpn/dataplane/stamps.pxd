# Packets stamped with a sequence number, as the C mqvpn has them.
from libc.stdint cimport uint8_t, uint32_t
from mqvpn.dataplane.flow cimport flow_t
from mqvpn.dataplane.headers cimport store16, store32
from mqvpn.dataplane.resequence cimport SPREAD_BYTES
from mqvpn.dataplane.state cimport conn_t, core_t, sink_t

cdef enum:
    STAMP = 1                       # the first byte, where an IP packet has its version
    STAMP_BYTES = 8                 # type, flags, sequence number (48 bit)
    FLOW_RESET = 1                  # the flag
    RESET_MARKS = 8                 # packets at the beginning of a flow that carry it

cdef int stamps_load(conn_t* conn, object rules) except -1
cdef void stamps_judge(const conn_t* conn, flow_t* flow) noexcept nogil
cdef void stamp_received(core_t* core, conn_t* conn, int slot, const uint8_t* data, uint32_t length, sink_t* sink,
                         double now) noexcept nogil

cdef inline uint32_t numbering(const conn_t* conn) noexcept nogil:
    """Bytes of an inner packet's MTU that its numbers may cost."""
    return SPREAD_BYTES if conn.spread else (STAMP_BYTES if conn.stamps != NULL else 0)

cdef inline void stamp_write(uint8_t* q, flow_t* flow) noexcept nogil:
    """The stamp of the flow's next packet."""
    q[0] = STAMP
    q[1] = FLOW_RESET if flow.sequence < RESET_MARKS else 0
    store16(q + 2, <uint32_t>(flow.sequence >> 32))
    store32(q + 4, <uint32_t>flow.sequence)
    flow.sequence += 1
