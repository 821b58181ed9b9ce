# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""AEAD by the functions of libcrypto's provider itself (provider-cipher(7)), found once per key.

EVP would call the same functions. But OpenSSL 3.0 asks the provider for the nonce's length before every packet, by
comparing strings, and translates the tag's control for it: 125 of 290 ns that a packet of 60 bytes took, of 520 ns for
one of 1400. Which provider has the cipher is still EVP's choice, so the system's configuration holds.
"""
from libc.string cimport memset, strlen
from mqvpn.dataplane.libcrypto cimport *

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t n)


cdef const OSSL_DISPATCH* functions_of(const OSSL_ALGORITHM* algorithm, const char* name) noexcept nogil:
    """Those of the cipher of that name; an algorithm has several names, with colons between, the common one first."""
    cdef size_t length = strlen(name)
    while algorithm != NULL and algorithm.algorithm_names != NULL:
        if strncasecmp(algorithm.algorithm_names, name, length) == 0 and algorithm.algorithm_names[length] in (58, 0):
            return algorithm.implementation
        algorithm += 1
    return NULL


cdef cipher_newctx_fn choose(aead_t* aead, const OSSL_DISPATCH* function, bint seals) noexcept nogil:
    """Take what one direction needs into the struct; what makes a context is the answer, NULL if there is none."""
    cdef cipher_newctx_fn make = NULL
    while function != NULL and function.function_id != 0:
        if function.function_id == OSSL_FUNC_CIPHER_NEWCTX:
            make = <cipher_newctx_fn>function.function
        elif function.function_id == OSSL_FUNC_CIPHER_FREECTX:
            aead.free = <cipher_freectx_fn>function.function
        elif function.function_id == OSSL_FUNC_CIPHER_UPDATE:
            aead.update = <cipher_update_fn>function.function
        elif function.function_id == OSSL_FUNC_CIPHER_FINAL:
            aead.final = <cipher_final_fn>function.function
        elif function.function_id == (OSSL_FUNC_CIPHER_ENCRYPT_INIT if seals else OSSL_FUNC_CIPHER_DECRYPT_INIT):
            aead.init = <cipher_init_fn>function.function
        elif function.function_id == (OSSL_FUNC_CIPHER_GET_CTX_PARAMS if seals else OSSL_FUNC_CIPHER_SET_CTX_PARAMS):
            aead.tag = <cipher_params_fn>function.function
        function += 1
    return make


cdef int aead_setup(aead_t* aead, const char* name, const uint8_t* key, uint32_t key_length, bint seals) noexcept nogil:
    """Make ready to seal, or to open, with this key; 0, or -1 when libcrypto refuses (no memory, cipher disabled)."""
    cdef cipher_newctx_fn make
    cdef const OSSL_PROVIDER* provider
    cdef int no_cache = 0
    cdef uint8_t zero[NONCE]
    memset(aead, 0, sizeof(aead_t))
    memset(zero, 0, NONCE)
    aead.cipher = EVP_CIPHER_fetch(NULL, name, NULL)
    if aead.cipher == NULL:
        return -1
    provider = EVP_CIPHER_get0_provider(aead.cipher)
    make = choose(aead, functions_of(OSSL_PROVIDER_query_operation(provider, OSSL_OP_CIPHER, &no_cache), name), seals)
    if make != NULL and aead.init and aead.update and aead.final and aead.tag and aead.free:
        aead.ctx = make(OSSL_PROVIDER_get0_provider_ctx(provider))
    aead.params[0] = OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, TAG)
    aead.params[1] = OSSL_PARAM_construct_end()
    if aead.ctx == NULL or aead.init(aead.ctx, key, key_length, zero, NONCE, NULL) != 1:
        aead_free(aead)
        return -1
    return 0


cdef void aead_free(aead_t* aead) noexcept nogil:
    """Give back what aead_setup() took; the struct may be set up again."""
    if aead.ctx != NULL:
        aead.free(aead.ctx)
    EVP_CIPHER_free(aead.cipher)
    memset(aead, 0, sizeof(aead_t))


cdef inline bint crypt(aead_t* aead, const uint8_t* nonce, const uint8_t* header, uint32_t header_length,
                       uint8_t* payload, uint32_t length) noexcept nogil:
    """All but the tag, whose place is told."""
    cdef size_t n = 0
    aead.params[0].data = payload + length
    return (aead.init(aead.ctx, NULL, 0, nonce, NONCE, NULL) == 1
            and aead.update(aead.ctx, NULL, &n, header_length, header, header_length) == 1
            and aead.update(aead.ctx, payload, &n, length, payload, length) == 1)


cdef bint aead_seal(aead_t* aead, const uint8_t* nonce, const uint8_t* header, uint32_t header_length,
                    uint8_t* payload, uint32_t length) noexcept nogil:
    """Encrypt the payload in place and write the tag behind it; whether it could be done."""
    cdef size_t n = 0
    return (crypt(aead, nonce, header, header_length, payload, length)
            and aead.final(aead.ctx, payload + length, &n, 0) == 1
            and aead.tag(aead.ctx, aead.params) == 1)


cdef bint aead_open(aead_t* aead, const uint8_t* nonce, const uint8_t* header, uint32_t header_length,
                    uint8_t* payload, uint32_t length) noexcept nogil:
    """Decrypt length bytes, which the tag follows, in place; whether they are authentic."""
    cdef size_t n = 0
    return (crypt(aead, nonce, header, header_length, payload, length)
            and aead.tag(aead.ctx, aead.params) == 1
            and aead.final(aead.ctx, payload + length, &n, 0) == 1)
