# struct virtio_net_hdr (VIRTIO 1.2, section 5.1.6), which IFF_VNET_HDR puts before each packet.
from libc.stdint cimport uint8_t, uint16_t

cdef enum:
    VIRTIO_NEEDS_CSUM = 1       # flags: the sum from csum_start on is still to be stored at csum_offset
    VIRTIO_GSO_NONE = 0         # gso_type
    VIRTIO_GSO_TCPV4 = 1
    VIRTIO_GSO_TCPV6 = 4
    VIRTIO_GSO_UDP_L4 = 5
    VIRTIO_GSO_ECN = 0x80       # with a TCP type: the first segment carries CWR

cdef struct virtio_t:           # host byte order
    uint8_t flags
    uint8_t gso_type
    uint16_t hdr_len
    uint16_t gso_size
    uint16_t csum_start
    uint16_t csum_offset
