AES_128_GCM: int
AES_256_GCM: int
CHACHA20_POLY1305: int

def library() -> str:
    """Which OpenSSL protects packets, as it names itself."""
