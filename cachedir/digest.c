#include "digest.h"

#include "alloc.h"
#include "text.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

static const struct algorithm {
    const char *prefix; /* both are seven bytes long */
    size_t hex_len;
} algorithms[] = {
    {"sha256:", 64},
    {"sha512:", 128},
};

#define ALGORITHM_COUNT (sizeof algorithms / sizeof *algorithms)
#define PREFIX_LEN 7

/* Looking an implementation up takes OpenSSL longer than hashing a manifest: done once. They live
 * as long as the process. */
static EVP_MD *implementations[ALGORITHM_COUNT];
static pthread_once_t implementations_once = PTHREAD_ONCE_INIT;

/* Only memory or a broken installation makes SHA-2 fail: no caller could do anything about it, and
 * going on without would publish what nobody has verified. */
static void __attribute__((noreturn)) openssl_failed(const char *what)
{
    fprintf(stderr, "OpenSSL: %s failed\n", what);
    abort();
}

static void implementations_fetch(void)
{
    static const char *const names[ALGORITHM_COUNT] = {"SHA256", "SHA512"};
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) {
        implementations[i] = EVP_MD_fetch(NULL, names[i], NULL);
        if (!implementations[i])
            openssl_failed(names[i]);
    }
}

/* Which algorithm the text begins with; ALGORITHM_COUNT when none that is known. */
static size_t algorithm_find(const char *text)
{
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) {
        if (strncmp(text, algorithms[i].prefix, PREFIX_LEN) == 0)
            return i;
    }
    return ALGORITHM_COUNT;
}

int digest_parse(const char *text, struct digest *ret, struct error *err)
{
    if (!text || !*text)
        return error_set(err, ERROR_PROTOCOL, "the digest is missing");

    size_t i = algorithm_find(text);
    const char *why = NULL;
    if (i == ALGORITHM_COUNT) {
        why = "it must begin with sha256: or sha512:";
    } else {
        const char *hex = text + PREFIX_LEN;
        size_t good = strspn(hex, "0123456789abcdef");
        if (hex[good] >= 'A' && hex[good] <= 'F')
            why = "its hex digits must be lower case";
        else if (hex[good])
            why = "only hex digits may follow the colon";
        else if (good != algorithms[i].hex_len)
            why =
                i == 0 ? "64 hex digits must follow sha256:" : "128 hex digits must follow sha512:";
    }
    if (why) {
        cleanup_free char *shown = text_foreign_str(text);
        return error_set(err, ERROR_PROTOCOL, "bad digest \"%s\": %s", shown, why);
    }
    *ret = (struct digest){0};
    memcpy(ret->text, text, PREFIX_LEN + algorithms[i].hex_len);
    return 0;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return strcmp(a->text, b->text) == 0;
}

bool digest_is_set(const struct digest *d)
{
    return d->text[0] != '\0';
}

bool digest_same_algorithm(const struct digest *a, const struct digest *b)
{
    return strncmp(a->text, b->text, PREFIX_LEN) == 0;
}

const char *digest_hex(const struct digest *d)
{
    return digest_is_set(d) ? d->text + PREFIX_LEN : "";
}

bool digest_is_sha256(const struct digest *d)
{
    return strncmp(d->text, "sha256:", PREFIX_LEN) == 0;
}

const char *digest_short(const struct digest *d, char buf[DIGEST_SHORT_SIZE])
{
    memcpy(buf, d->text, DIGEST_SHORT_SIZE - 1);
    buf[DIGEST_SHORT_SIZE - 1] = '\0';
    return buf;
}

struct hasher {
    size_t algorithm;
    EVP_MD_CTX *context;
};

static struct hasher *hasher_make(size_t algorithm)
{
    pthread_once(&implementations_once, implementations_fetch);
    struct hasher *h = xmalloc(sizeof *h);
    h->algorithm = algorithm;
    h->context = EVP_MD_CTX_new();
    if (!h->context)
        openssl_failed("EVP_MD_CTX_new");
    hasher_reset(h);
    return h;
}

struct hasher *hasher_new(const struct digest *like)
{
    size_t algorithm = algorithm_find(like->text);
    if (algorithm == ALGORITHM_COUNT)
        abort(); /* the caller's mistake: an unset digest says nothing about an algorithm */
    return hasher_make(algorithm);
}

void hasher_update(struct hasher *h, const void *data, size_t len)
{
    if (!EVP_DigestUpdate(h->context, data, len))
        openssl_failed("EVP_DigestUpdate");
}

void hasher_final(struct hasher *h, struct digest *ret)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned int raw_len;
    if (!EVP_DigestFinal_ex(h->context, raw, &raw_len))
        openssl_failed("EVP_DigestFinal_ex");

    *ret = (struct digest){0};
    memcpy(ret->text, algorithms[h->algorithm].prefix, PREFIX_LEN);
    char *out = ret->text + PREFIX_LEN;
    for (unsigned int i = 0; i < raw_len; i++) {
        *out++ = digits[raw[i] >> 4];
        *out++ = digits[raw[i] & 15];
    }
}

void hasher_reset(struct hasher *h)
{
    if (!EVP_DigestInit_ex2(h->context, implementations[h->algorithm], NULL))
        openssl_failed("EVP_DigestInit_ex2");
}

void hasher_free(struct hasher *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->context);
    free(h);
}

int digest_check(const struct digest *want, const void *data, size_t len, struct error *err)
{
    cleanup_hasher struct hasher *h = hasher_new(want);
    struct digest got;
    hasher_update(h, data, len);
    hasher_final(h, &got);
    if (!digest_equal(want, &got))
        return error_set(err, ERROR_DIGEST, "the digest should be %s and is %s", want->text,
                         got.text);
    return 0;
}

void digest_of(const void *data, size_t len, struct digest *ret)
{
    cleanup_hasher struct hasher *h = hasher_make(0);
    hasher_update(h, data, len);
    hasher_final(h, ret);
}
