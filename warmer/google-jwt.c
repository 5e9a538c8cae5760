#include "google-jwt.h"

#include "cachedir/alloc.h"
#include "secret.h"

#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

/* RFC 4648, section 5, without padding. Owned. */
static char *base64url(const void *bytes, size_t len)
{
    char *text = xcalloc(1, (len + 2) / 3 * 4 + 1);
    int n = EVP_EncodeBlock((unsigned char *)text, bytes, (int)len);
    while (n > 0 && text[n - 1] == '=')
        text[--n] = '\0';
    for (char *p = text; *p; p++)
        *p = (char)(*p == '+' ? '-' : *p == '/' ? '_' : *p);
    return text;
}

/* Takes the object. */
static char *part(json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    char *encoded = base64url(text ? text : "", text ? strlen(text) : 0);
    free(text);
    return encoded;
}

/* Never asks a terminal for a passphrase. */
static int no_passphrase(char *to, int size, int writing, void *userdata)
{
    (void)to, (void)size, (void)writing, (void)userdata;
    return -1;
}

static char *sign(EVP_PKEY *key, const char *text)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char *signature = NULL;
    char *encoded = NULL;
    size_t len = 0;
    if (!context)
        abort(); /* out of memory */
    if (EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestSign(context, NULL, &len, (const unsigned char *)text, strlen(text)) == 1) {
        signature = xmalloc(len);
        if (EVP_DigestSign(context, signature, &len, (const unsigned char *)text, strlen(text)) ==
            1)
            encoded = base64url(signature, len);
    }
    free(signature);
    EVP_MD_CTX_free(context);
    return encoded;
}

char *google_jwt(const struct google_claims *claims, const char *pem, struct error *err)
{
    json_t *header =
        json_pack("{s:s, s:s, s:s*}", "alg", "RS256", "typ", "JWT", "kid", claims->key_id);
    json_t *body = json_pack("{s:s, s:s, s:s, s:I, s:I}", "iss", claims->issuer, "scope",
                             claims->scope, "aud", claims->audience, "iat", (json_int_t)claims->now,
                             "exp", (json_int_t)claims->now + GOOGLE_JWT_LIFETIME_S);
    cleanup_free char *first = part(header), *second = part(body);
    cleanup_free char *text = xasprintf("%s.%s", first, second);
    BIO *bio = BIO_new_mem_buf(pem, (int)strlen(pem));
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    bool is_rsa = key && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;
    cleanup_free char *signature = is_rsa ? sign(key, text) : NULL;
    EVP_PKEY_free(key);
    if (signature)
        return xasprintf("%s.%s", text, signature);
    (void)error_set(err, ERROR_CONFIG, "its private_key is no RSA key");
    return NULL;
}
