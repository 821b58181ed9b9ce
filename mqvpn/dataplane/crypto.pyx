# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""1-RTT packet protection: AEAD in place and header-protection masks by the batch.

RFC 9001, sections 5.3 and 5.4; the nonce carries the path ID (draft-ietf-quic-multipath, section 2.4):
`IV xor (path ID, 32 bit || packet number, 64 bit)`, which for path 0 is RFC 9001's own nonce.
Cipher contexts are made once per key; nothing is allocated per packet.
"""
from libc.string cimport memcpy, memset
from mqvpn.dataplane.aead cimport NONCE, aead_free, aead_open, aead_seal, aead_setup, aead_t
from mqvpn.dataplane.libcrypto cimport *

AES_128_GCM = 1
AES_256_GCM = 2
CHACHA20_POLY1305 = 3


def library() -> str:
    """Which OpenSSL protects packets, as it names itself."""
    return OpenSSL_version(OPENSSL_VERSION).decode()


cdef const char* aead_name(int suite) noexcept nogil:
    if suite == 1:
        return "AES-128-GCM"
    if suite == 2:
        return "AES-256-GCM"
    return "ChaCha20-Poly1305"


cdef const char* header_name(int suite) noexcept nogil:
    if suite == 1:
        return "AES-128-ECB"
    if suite == 2:
        return "AES-256-ECB"
    return "ChaCha20"


cdef int keys_install(keys_t* keys, int suite, const uint8_t* key, const uint8_t* iv, bint seals) noexcept nogil:
    """Set up one AEAD context; 0, or -1 when libcrypto refuses (out of memory, cipher disabled)."""
    cdef aead_t aead
    if aead_setup(&aead, aead_name(suite), key, 16 if suite == 1 else 32, seals) != 0:
        return -1
    keys_clear(keys)
    keys.aead = aead
    memcpy(keys.iv, iv, NONCE)
    return 0


cdef bint keys_installed(const keys_t* keys) noexcept nogil:
    return keys.aead.ctx != NULL


cdef void keys_clear(keys_t* keys) noexcept nogil:
    aead_free(&keys.aead)
    memset(keys, 0, sizeof(keys_t))


cdef int header_keys_install(header_keys_t* keys, int suite, const uint8_t* key) noexcept nogil:
    """Set up one header-protection context; 0, or -1 when libcrypto refuses."""
    cdef EVP_CIPHER* cipher = EVP_CIPHER_fetch(NULL, header_name(suite), NULL)
    cdef EVP_CIPHER_CTX* ctx = EVP_CIPHER_CTX_new()
    cdef int done = 0
    cdef uint8_t zero[16]
    memset(zero, 0, 16)
    if cipher != NULL and ctx != NULL:
        done = EVP_EncryptInit_ex(ctx, cipher, NULL, key, zero if suite == 3 else NULL)
    EVP_CIPHER_free(cipher)
    if done != 1:
        EVP_CIPHER_CTX_free(ctx)
        return -1
    EVP_CIPHER_CTX_set_padding(ctx, 0)
    header_keys_clear(keys)
    keys.cipher = ctx
    keys.chacha = suite == 3
    return 0


cdef void header_keys_clear(header_keys_t* keys) noexcept nogil:
    EVP_CIPHER_CTX_free(keys.cipher)
    memset(keys, 0, sizeof(header_keys_t))


cdef inline void make_nonce(uint8_t* nonce, const uint8_t* iv, uint32_t path_id, uint64_t number) noexcept nogil:
    cdef int i
    for i in range(4):
        nonce[i] = iv[i] ^ <uint8_t>(path_id >> (24 - 8 * i))
    for i in range(8):
        nonce[4 + i] = iv[4 + i] ^ <uint8_t>(number >> (56 - 8 * i))


cdef int seal(keys_t* keys, uint32_t path_id, uint64_t number, const uint8_t* header, uint32_t header_length,
              uint8_t* payload, uint32_t length) noexcept nogil:
    """Encrypt payload in place and write the tag behind it (16 bytes of room); 0, or -1."""
    cdef uint8_t nonce[NONCE]
    make_nonce(nonce, keys.iv, path_id, number)
    return 0 if aead_seal(&keys.aead, nonce, header, header_length, payload, length) else -1


cdef int unseal(keys_t* keys, uint32_t path_id, uint64_t number, const uint8_t* header, uint32_t header_length,
                uint8_t* payload, uint32_t length) noexcept nogil:
    """Decrypt length bytes (the tag follows them) in place; 0, or -1 when they are not authentic."""
    cdef uint8_t nonce[NONCE]
    make_nonce(nonce, keys.iv, path_id, number)
    return 0 if aead_open(&keys.aead, nonce, header, header_length, payload, length) else -1


cdef int header_masks(header_keys_t* keys, const uint8_t* samples, uint8_t* masks, int count) noexcept nogil:
    """The masks (16 bytes apart, 5 used) of count samples, in one call for AES; 0, or -1."""
    cdef uint8_t zero[16]
    cdef int n = 0, i
    if not keys.chacha:
        return 0 if EVP_EncryptUpdate(keys.cipher, masks, &n, samples, SAMPLE * count) == 1 else -1
    memset(zero, 0, 16)
    for i in range(count):                  # RFC 9001, section 5.4.4: counter and nonce are the sample
        if EVP_EncryptInit_ex(keys.cipher, NULL, NULL, NULL, samples + SAMPLE * i) != 1:
            return -1
        if EVP_EncryptUpdate(keys.cipher, masks + SAMPLE * i, &n, zero, 5) != 1:
            return -1
    return 0
