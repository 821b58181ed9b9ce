# AEAD ciphers of libcrypto's providers (provider-cipher(7)), one key and one direction each.
from libc.stdint cimport uint8_t, uint32_t
from mqvpn.dataplane.libcrypto cimport (
    EVP_CIPHER, OSSL_PARAM, cipher_final_fn, cipher_freectx_fn, cipher_init_fn, cipher_params_fn, cipher_update_fn)

cdef enum:
    TAG = 16
    NONCE = 12

cdef struct aead_t:
    void* ctx                       # NULL: not set up
    EVP_CIPHER* cipher              # keeps the provider loaded
    cipher_init_fn init
    cipher_update_fn update
    cipher_final_fn final
    cipher_params_fn tag            # gets the tag of what was sealed, sets that of what is to be opened
    cipher_freectx_fn free
    OSSL_PARAM params[2]            # for `tag`: where it is, and the end

cdef int aead_setup(aead_t* aead, const char* name, const uint8_t* key, uint32_t key_length, bint seals) noexcept nogil
cdef void aead_free(aead_t* aead) noexcept nogil
cdef bint aead_seal(aead_t* aead, const uint8_t* nonce, const uint8_t* header, uint32_t header_length,
                    uint8_t* payload, uint32_t length) noexcept nogil
cdef bint aead_open(aead_t* aead, const uint8_t* nonce, const uint8_t* header, uint32_t header_length,
                    uint8_t* payload, uint32_t length) noexcept nogil
