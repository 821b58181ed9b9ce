# Where each frame ends.
from libc.stdint cimport uint8_t, uint64_t

cdef enum frame_kind:
    FRAME_CONTROL = 0               # for Python
    FRAME_PADDING = 1
    FRAME_PING = 2
    FRAME_ACK = 3
    FRAME_DATAGRAM = 4
    FRAME_UNKNOWN = 5               # the rest of the packet cannot be parsed
    FRAME_BROKEN = 6                # FRAME_ENCODING_ERROR

cdef frame_kind frame_next(const uint8_t* at, const uint8_t* end, uint64_t* kind, const uint8_t** body,
                           const uint8_t** after) noexcept nogil
