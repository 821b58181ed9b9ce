# 1-RTT packet protection (RFC 9001, section 5) with the path ID in the nonce (multipath draft, section 2.4).
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from mqvpn.dataplane.aead cimport aead_t
from mqvpn.dataplane.libcrypto cimport EVP_CIPHER_CTX

cdef enum:
    SAMPLE = 16

cdef struct keys_t:                 # one direction, one key generation
    aead_t aead
    uint8_t iv[12]
    int64_t generation

cdef struct header_keys_t:          # one direction; they outlive key updates
    EVP_CIPHER_CTX* cipher          # NULL: not installed
    bint chacha

cdef int keys_install(keys_t* keys, int suite, const uint8_t* key, const uint8_t* iv, bint seals) noexcept nogil
cdef bint keys_installed(const keys_t* keys) noexcept nogil
cdef void keys_clear(keys_t* keys) noexcept nogil
cdef int header_keys_install(header_keys_t* keys, int suite, const uint8_t* key) noexcept nogil
cdef void header_keys_clear(header_keys_t* keys) noexcept nogil
cdef int seal(keys_t* keys, uint32_t path_id, uint64_t number, const uint8_t* header, uint32_t header_length,
              uint8_t* payload, uint32_t length) noexcept nogil
cdef int unseal(keys_t* keys, uint32_t path_id, uint64_t number, const uint8_t* header, uint32_t header_length,
                uint8_t* payload, uint32_t length) noexcept nogil
cdef int header_masks(header_keys_t* keys, const uint8_t* samples, uint8_t* masks, int count) noexcept nogil
