"""Bytes and values: buffers, capsules, addresses, multipath frames, IP headers and numbers. Pure."""
