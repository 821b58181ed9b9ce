# The few names of OpenSSL's libcrypto (3.0 and later) that the data plane calls.
cdef extern from "openssl/crypto.h" nogil:
    int OPENSSL_VERSION
    const char* OpenSSL_version(int part)

cdef extern from "openssl/core.h" nogil:
    ctypedef struct OSSL_PROVIDER:
        pass
    ctypedef struct OSSL_DISPATCH:
        int function_id
        void (*function)() noexcept nogil
    ctypedef struct OSSL_ALGORITHM:
        const char* algorithm_names
        const OSSL_DISPATCH* implementation
    ctypedef struct OSSL_PARAM:
        void* data

cdef extern from "openssl/core_dispatch.h" nogil:
    int OSSL_OP_CIPHER
    int OSSL_FUNC_CIPHER_NEWCTX
    int OSSL_FUNC_CIPHER_FREECTX
    int OSSL_FUNC_CIPHER_ENCRYPT_INIT
    int OSSL_FUNC_CIPHER_DECRYPT_INIT
    int OSSL_FUNC_CIPHER_UPDATE
    int OSSL_FUNC_CIPHER_FINAL
    int OSSL_FUNC_CIPHER_GET_CTX_PARAMS
    int OSSL_FUNC_CIPHER_SET_CTX_PARAMS

# The types of these functions (OSSL_FUNC_cipher_newctx_fn and so on) as pointers.
ctypedef void* (*cipher_newctx_fn)(void* provider_ctx) noexcept nogil
ctypedef void (*cipher_freectx_fn)(void* ctx) noexcept nogil
ctypedef int (*cipher_init_fn)(void* ctx, const unsigned char* key, size_t key_length, const unsigned char* iv,
                               size_t iv_length, const OSSL_PARAM* params) noexcept nogil
ctypedef int (*cipher_update_fn)(void* ctx, unsigned char* out, size_t* out_length, size_t out_size,
                                 const unsigned char* data, size_t length) noexcept nogil
ctypedef int (*cipher_final_fn)(void* ctx, unsigned char* out, size_t* out_length, size_t out_size) noexcept nogil
ctypedef int (*cipher_params_fn)(void* ctx, OSSL_PARAM* params) noexcept nogil

cdef extern from "openssl/core_names.h" nogil:
    const char* OSSL_CIPHER_PARAM_AEAD_TAG

cdef extern from "openssl/params.h" nogil:
    OSSL_PARAM OSSL_PARAM_construct_octet_string(const char* key, void* data, size_t size)
    OSSL_PARAM OSSL_PARAM_construct_end()

cdef extern from "openssl/provider.h" nogil:
    const OSSL_ALGORITHM* OSSL_PROVIDER_query_operation(const OSSL_PROVIDER* provider, int operation, int* no_cache)
    void* OSSL_PROVIDER_get0_provider_ctx(const OSSL_PROVIDER* provider)

cdef extern from "openssl/evp.h" nogil:
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_CIPHER:
        pass
    EVP_CIPHER* EVP_CIPHER_fetch(void* library, const char* algorithm, const char* properties)
    void EVP_CIPHER_free(EVP_CIPHER* cipher)
    const OSSL_PROVIDER* EVP_CIPHER_get0_provider(const EVP_CIPHER* cipher)
    EVP_CIPHER_CTX* EVP_CIPHER_CTX_new()
    void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX* ctx)
    int EVP_CIPHER_CTX_set_padding(EVP_CIPHER_CTX* ctx, int pad)
    int EVP_EncryptInit_ex(EVP_CIPHER_CTX* ctx, const EVP_CIPHER* cipher, void* engine,
                           const unsigned char* key, const unsigned char* iv)
    int EVP_EncryptUpdate(EVP_CIPHER_CTX* ctx, unsigned char* out, int* outl, const unsigned char* data, int n)
