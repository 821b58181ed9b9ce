"""Multipath QUIC (draft-ietf-quic-multipath-21) on aioquic. No I/O, no clock; knows nothing of IP packets."""
