#include "trust.h"

#include "cachedir/alloc.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#define PEM_FILE_MAX (16 << 20) /* the system's bundles have some 200 KiB */

struct roots {
    char *file, *directories; /* of the environment; NULL: not set */
    X509_STORE *nothing;      /* for contexts that ask verify_by_roots() */
    pthread_mutex_t mutex;    /* guards: */
    X509_STORE *store;        /* NULL: nobody has asked yet; constant afterwards, as is */
    STACK_OF(X509) * list;    /* the same */
};

struct trust {
    unsigned id;
    bool skip_verify;
    X509_STORE *store; /* NULL: the roots alone */
    X509 *client_certificate;
    STACK_OF(X509) * client_chain;
    EVP_PKEY *client_key;
};

/* Where Linux distributions keep them (Go's crypto/x509 looks at the same): the first file that
 * holds any, and every directory. */
static const char *const system_files[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
};
#define SYSTEM_DIRECTORIES "/etc/ssl/certs:/etc/pki/tls/certs"

static X509_STORE *store_new(void)
{
    X509_STORE *store = X509_STORE_new();
    if (!store)
        abort();
    /* What the user calls trusted is an anchor, self-signed or not; Go and libcurl say so too. */
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
    return store;
}

static BIO *pem_open(const char *path, struct error *err)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        error_set(err, ERROR_CONFIG, "%s: %s", path, strerror(errno));
        return NULL;
    }
    if (S_ISDIR(st.st_mode) || st.st_size > PEM_FILE_MAX) {
        error_set(err, ERROR_CONFIG, "%s: %s", path,
                  S_ISDIR(st.st_mode) ? "is a directory" : "too large for a PEM file");
        return NULL;
    }
    errno = 0;
    BIO *bio = BIO_new_file(path, "re");
    if (!bio)
        error_set(err, ERROR_CONFIG, "%s: %s", path, strerror(errno));
    ERR_clear_error();
    return bio;
}

/* What was read already, byte for byte: a system's directory holds what its bundle holds, and to
 * parse a certificate costs more than all the rest. */
struct seen {
    struct seen_certificate {
        unsigned char *der;
        long len;
    } * list;
    size_t count;
};

static bool seen_before(const struct seen *seen, const unsigned char *der, long len)
{
    for (size_t i = 0; i < seen->count; i++)
        if (seen->list[i].len == len && memcmp(seen->list[i].der, der, (size_t)len) == 0)
            return true;
    return false;
}

static void seen_release(struct seen *seen)
{
    for (size_t i = 0; i < seen->count; i++)
        OPENSSL_free(seen->list[i].der);
    free(seen->list);
}
#define cleanup_seen __attribute__((cleanup(seen_release)))

static bool add_der(X509_STORE *store, const unsigned char *der, long len)
{
    X509 *certificate = d2i_X509(NULL, &der, len);
    bool added = certificate && X509_STORE_add_cert(store, certificate);
    X509_free(certificate);
    return added;
}

/* Add a file's certificates to the store. Returns how many it held; -1 when it cannot be opened.
 * Blocks of another type, and what cannot be parsed, are passed over, as in Go. */
static int add_file(X509_STORE *store, struct seen *seen, const char *path, struct error *err)
{
    BIO *bio = pem_open(path, err);
    if (!bio)
        return -1;
    int count = 0;
    char *type, *header;
    unsigned char *der;
    long len;
    while (PEM_read_bio(bio, &type, &header, &der, &len)) {
        bool is_certificate = strcmp(type, PEM_STRING_X509) == 0;
        OPENSSL_free(type);
        OPENSSL_free(header);
        if (is_certificate && seen_before(seen, der, len)) {
            count++;
        } else if (is_certificate && add_der(store, der, len)) {
            *array_add(seen->list, seen->count) = (struct seen_certificate){der, len};
            count++;
            continue;
        }
        OPENSSL_clear_free(der, (size_t)len); /* it may have been a key */
    }
    BIO_free(bio);
    ERR_clear_error(); /* the end of the file is an error to OpenSSL, and left-overs confuse curl */
    return count;
}

/* A file that must hold certificates. */
static int add_named_file(X509_STORE *store, struct seen *seen, const char *path, struct error *err)
{
    int count = add_file(store, seen, path, err);
    if (count < 0)
        return -1;
    if (count == 0)
        return error_set(err, ERROR_CONFIG, "%s holds no certificate in PEM form", path);
    return 0;
}

/* Every file of each directory, whatever its name; not the symlinks by hash to its own files. A
 * directory that is missing and a file that is no certificate are passed over: such directories
 * hold all sorts of things. */
static void add_directories(X509_STORE *store, struct seen *seen, const char *directories)
{
    cleanup_free char *list = xstrdup(directories);
    char *rest = NULL;
    for (char *path = strtok_r(list, ":", &rest); path; path = strtok_r(NULL, ":", &rest)) {
        DIR *directory = opendir(path);
        if (!directory)
            continue;
        const struct dirent *entry;
        while ((entry = readdir(directory))) {
            char target[256];
            ssize_t len = readlinkat(dirfd(directory), entry->d_name, target, sizeof target);
            if (len > 0 && !memchr(target, '/', (size_t)len) && target[0] != '.')
                continue;
            cleanup_free char *file = xasprintf("%s/%s", path, entry->d_name);
            (void)add_file(store, seen, file, NULL);
        }
        closedir(directory);
    }
}

/* A certificate that can be parsed; the others are looked at when somebody needs them. */
static int check_file(const char *path, struct error *err)
{
    BIO *bio = pem_open(path, err);
    if (!bio)
        return -1;
    X509 *first = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    ERR_clear_error();
    X509_free(first);
    if (first)
        return 0;
    /* Go passes over what cannot be parsed, and so does add_file(): there may be a good one. */
    X509_STORE *store = store_new();
    cleanup_seen struct seen seen = {0};
    int r = add_named_file(store, &seen, path, err);
    X509_STORE_free(store);
    return r;
}

static char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? xstrdup(value) : NULL;
}

int roots_new(struct roots **ret, struct error *err)
{
    struct roots *r = xcalloc(1, sizeof *r);
    r->file = variable("SSL_CERT_FILE");
    r->directories = variable("SSL_CERT_DIR");
    r->nothing = store_new();
    pthread_mutex_init(&r->mutex, NULL);
    if (r->file && check_file(r->file, err) < 0) {
        roots_free(r);
        return error_prefix(err, "SSL_CERT_FILE");
    }
    *ret = r;
    return 0;
}

static X509_STORE *read_roots(const struct roots *r)
{
    X509_STORE *store = store_new();
    cleanup_seen struct seen seen = {0};
    if (r->file)
        (void)add_file(store, &seen, r->file, NULL); /* gone since it was looked at: no roots */
    if (r->directories)
        add_directories(store, &seen, r->directories);
    if (!r->file && !r->directories) {
        for (size_t i = 0; i < sizeof system_files / sizeof *system_files; i++)
            if (add_file(store, &seen, system_files[i], NULL) > 0)
                break;
        add_directories(store, &seen, SYSTEM_DIRECTORIES);
    }
    return store;
}

/* Parsing them takes longer than all else that a run without TLS does, and megabytes. */
static void roots_need(struct roots *r)
{
    pthread_mutex_lock(&r->mutex);
    if (!r->store) {
        r->store = read_roots(r);
        r->list = X509_STORE_get1_all_certs(r->store);
        if (!r->list)
            abort();
    }
    pthread_mutex_unlock(&r->mutex);
}

size_t roots_count(struct roots *r)
{
    roots_need(r);
    return (size_t)sk_X509_num(r->list);
}

/* Called when a server has shown its certificate: many a registry that is tried by TLS has none. */
static int verify_by_roots(X509_STORE_CTX *context, void *userdata)
{
    struct roots *r = userdata;
    roots_need(r);
    X509_STORE_CTX_set0_trusted_stack(context, r->list);
    return X509_verify_cert(context);
}

void roots_free(struct roots *r)
{
    if (!r)
        return;
    X509_STORE_free(r->nothing);
    X509_STORE_free(r->store);
    sk_X509_pop_free(r->list, X509_free);
    pthread_mutex_destroy(&r->mutex);
    free(r->file);
    free(r->directories);
    free(r);
}

/* The certificates themselves are shared; only the list is new. */
static X509_STORE *store_copy(struct roots *roots)
{
    X509_STORE *store = store_new();
    roots_need(roots);
    for (int i = 0; i < sk_X509_num(roots->list); i++)
        if (!X509_STORE_add_cert(store, sk_X509_value(roots->list, i)))
            abort();
    return store;
}

static int load_client_certificate(struct trust *t, const char *path, struct error *err)
{
    BIO *bio = pem_open(path, err);
    if (!bio)
        return -1;
    t->client_certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    t->client_chain = sk_X509_new_null();
    X509 *next;
    while (t->client_certificate && (next = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        if (!sk_X509_push(t->client_chain, next))
            abort();
    BIO_free(bio);
    ERR_clear_error();
    if (!t->client_certificate)
        return error_set(err, ERROR_CONFIG, "%s holds no certificate in PEM form", path);
    return 0;
}

/* Nobody is there to type one. */
static int no_passphrase(char *buffer, int size, int writing, void *userdata)
{
    (void)buffer, (void)size, (void)writing;
    *(bool *)userdata = true;
    return -1;
}

static int load_client_key(struct trust *t, const char *path, struct error *err)
{
    BIO *bio = pem_open(path, err);
    if (!bio)
        return -1;
    bool encrypted = false;
    t->client_key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &encrypted);
    BIO_free(bio);
    ERR_clear_error();
    if (!t->client_key)
        return error_set(err, ERROR_CONFIG, "%s %s", path,
                         encrypted ? "has a passphrase; a key without one is needed"
                                   : "holds no private key in PEM form");
    return 0;
}

static int load_client(struct trust *t, const char *certificate, const char *key, struct error *err)
{
    if (load_client_certificate(t, certificate, err) < 0 || load_client_key(t, key, err) < 0)
        return -1;
    int fits = X509_check_private_key(t->client_certificate, t->client_key);
    ERR_clear_error();
    if (!fits)
        return error_set(err, ERROR_CONFIG, "%s is not the key of the certificate in %s", key,
                         certificate);
    return 0;
}

int trust_new(struct roots *roots, const struct trust_options *options, struct trust **ret,
              struct error *err)
{
    static atomic_uint last_id;
    struct trust *t = xcalloc(1, sizeof *t);
    cleanup_seen struct seen seen = {0};
    t->id = atomic_fetch_add(&last_id, 1) + 1;
    t->skip_verify = options->skip_verify;
    if (options->certificates && options->certificates[0])
        t->store = store_copy(roots);
    for (const char *const *path = options->certificates; path && *path; path++)
        if (add_named_file(t->store, &seen, *path, err) < 0)
            goto failed;
    if (options->client_certificate &&
        load_client(t, options->client_certificate, options->client_key, err) < 0)
        goto failed;
    *ret = t;
    return 0;
failed:
    trust_free(t);
    return -1;
}

void trust_free(struct trust *t)
{
    if (!t)
        return;
    X509_STORE_free(t->store);
    X509_free(t->client_certificate);
    sk_X509_pop_free(t->client_chain, X509_free);
    EVP_PKEY_free(t->client_key); /* wipes it */
    free(t);
}

bool trust_skips_verify(const struct trust *t)
{
    return t && t->skip_verify;
}

unsigned trust_id(const struct trust *t)
{
    return t ? t->id : 0;
}

int trust_apply(const struct trust *t, struct roots *roots, bool client_certificate, SSL_CTX *ctx)
{
    /* Not the context's own store: libcurl 7.88 still writes to that one afterwards, without a
     * lock. This one is asked in its place, and only ever read. */
    const bool own = t && t->store;
    if (SSL_CTX_set1_verify_cert_store(ctx, own ? t->store : roots->nothing) != 1)
        return -1;
    if (!own && !trust_skips_verify(t))
        SSL_CTX_set_cert_verify_callback(ctx, verify_by_roots, roots);
    if (!client_certificate || !t || !t->client_certificate)
        return 0;
    int done =
        SSL_CTX_use_cert_and_key(ctx, t->client_certificate, t->client_key, t->client_chain, 1);
    ERR_clear_error();
    return done == 1 ? 0 : -1;
}
