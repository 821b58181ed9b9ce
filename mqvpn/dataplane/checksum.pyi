def internet_checksum(data: bytes) -> int:
    """The checksum field (RFC 1071) of these bytes, as a number in network byte order."""
