# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Walking over the frames of a 1-RTT packet (RFC 9000, section 19; RFC 9221; draft-ietf-quic-multipath, section 4).

The engine acts on ACK, PATH_ACK, DATAGRAM, PING and PADDING itself. For all others it only needs to know where
they end, so that the bytes can be handed to Python.
"""
from mqvpn.dataplane.varint cimport get_varint


cdef const uint8_t* skip_varints(const uint8_t* at, const uint8_t* end, int count) noexcept nogil:
    cdef uint64_t value
    while count and at != NULL:
        at = get_varint(at, end, &value)
        count -= 1
    return at


cdef const uint8_t* skip_bytes(const uint8_t* at, const uint8_t* end, uint64_t count) noexcept nogil:
    if at == NULL or count > <uint64_t>(end - at):
        return NULL
    return at + count


cdef const uint8_t* skip_sized(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """A length and that many bytes."""
    cdef uint64_t length = 0
    at = get_varint(at, end, &length)
    return skip_bytes(at, end, length)


cdef const uint8_t* skip_stream(const uint8_t* at, const uint8_t* end, uint64_t kind) noexcept nogil:
    at = skip_varints(at, end, 2 if kind & 4 else 1)        # stream ID, offset
    if not kind & 2:
        return NULL if at == NULL else end
    return skip_sized(at, end)


cdef const uint8_t* skip_connection_id(const uint8_t* at, const uint8_t* end, int numbers) noexcept nogil:
    """Numbers, length (8 bit), connection ID, stateless reset token."""
    at = skip_varints(at, end, numbers)
    if at == NULL or at >= end:
        return NULL
    return skip_bytes(at + 1, end, <uint64_t>at[0] + 16)


cdef const uint8_t* skip_ack(const uint8_t* at, const uint8_t* end, uint64_t kind) noexcept nogil:
    cdef uint64_t ranges = 0
    at = skip_varints(at, end, 3 if kind >= 0x3e else 2)    # path ID, largest, delay
    at = get_varint(at, end, &ranges)
    if at == NULL or ranges > <uint64_t>(end - at):
        return NULL
    at = skip_varints(at, end, <int>(1 + 2 * ranges))
    return skip_varints(at, end, 3) if kind & 1 else at     # ECN counts


cdef const uint8_t* skip_control(const uint8_t* at, const uint8_t* end, uint64_t kind, bint* known) noexcept nogil:
    known[0] = True
    if kind == 0x04:                                        # RESET_STREAM
        return skip_varints(at, end, 3)
    if kind == 0x06:                                        # CRYPTO
        return skip_sized(skip_varints(at, end, 1), end)
    if kind == 0x07:                                        # NEW_TOKEN
        return skip_sized(at, end)
    if 0x08 <= kind <= 0x0f:
        return skip_stream(at, end, kind)
    if kind == 0x05 or kind == 0x11 or kind == 0x15:        # STOP_SENDING, MAX_STREAM_DATA, STREAM_DATA_BLOCKED
        return skip_varints(at, end, 2)
    if 0x10 <= kind <= 0x17 or kind == 0x19:                # limits, RETIRE_CONNECTION_ID
        return skip_varints(at, end, 1)
    if kind == 0x18:                                        # NEW_CONNECTION_ID
        return skip_connection_id(at, end, 2)
    if kind == 0x1a or kind == 0x1b:                        # PATH_CHALLENGE, PATH_RESPONSE
        return skip_bytes(at, end, 8)
    if kind == 0x1c or kind == 0x1d:                        # CONNECTION_CLOSE
        return skip_sized(skip_varints(at, end, 2 if kind == 0x1c else 1), end)
    if kind == 0x1e:                                        # HANDSHAKE_DONE
        return at
    if kind == 0x3e78:                                      # PATH_NEW_CONNECTION_ID
        return skip_connection_id(at, end, 3)
    if 0x3e75 <= kind <= 0x3e79 or kind == 0x3e7c:          # ABANDON, STATUS, RETIRE, CIDS_BLOCKED
        return skip_varints(at, end, 2)
    if kind == 0x3e7a or kind == 0x3e7b:                    # MAX_PATH_ID, PATHS_BLOCKED
        return skip_varints(at, end, 1)
    known[0] = False
    return at


cdef frame_kind frame_next(const uint8_t* at, const uint8_t* end, uint64_t* kind, const uint8_t** body,
                           const uint8_t** after) noexcept nogil:
    """The frame at `at`: its type, where its fields begin and where it ends."""
    cdef const uint8_t* start = at
    cdef frame_kind found = FRAME_CONTROL
    cdef bint known = True
    at = get_varint(at, end, kind)
    # RFC 9000, section 12.4: "frame types MUST be encoded in the shortest form"
    if at == NULL or (at - start > 1 and kind[0] < (0x40 if at - start == 2 else 0x4000)):
        return FRAME_BROKEN
    body[0] = at
    if kind[0] == 0:
        found = FRAME_PADDING
    elif kind[0] == 1:
        found = FRAME_PING
    elif kind[0] == 2 or kind[0] == 3 or kind[0] == 0x3e or kind[0] == 0x3f:
        found = FRAME_ACK
        at = skip_ack(at, end, kind[0])
    elif kind[0] == 0x30:
        found = FRAME_DATAGRAM
        at = end
    elif kind[0] == 0x31:
        found = FRAME_DATAGRAM
        at = skip_sized(at, end)
    else:
        at = skip_control(at, end, kind[0], &known)
        found = FRAME_CONTROL if known else FRAME_UNKNOWN
    if at == NULL:
        return FRAME_BROKEN
    after[0] = at
    return found
