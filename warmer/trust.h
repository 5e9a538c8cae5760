/*
 * Whom TLS trusts: the system's roots, read once, when first needed, and shared by all threads; and
 * what a registry's options add to them. Everything here is immutable once made.
 */
#pragma once

#include "cachedir/error.h"

#include <stdbool.h>
#include <stddef.h>

struct roots;
struct trust;
struct ssl_ctx_st;

/*
 * Where the roots are; they are read by whoever first needs them. SSL_CERT_FILE and SSL_CERT_DIR
 * (directories separated by colons, every file of each) replace the system's: when either is set,
 * only what is set is read. Unlike in Go, a SSL_CERT_FILE that cannot be read or holds no
 * certificate is ERROR_CONFIG. No roots at all is no error yet: a run may need none.
 */
int roots_new(struct roots **ret, struct error *err);
size_t roots_count(struct roots *r); /* reads them */
void roots_free(struct roots *r);    /* after every trust made from it; takes NULL */

struct trust_options {
    bool skip_verify;                /* take any certificate for any name */
    const char *const *certificates; /* PEM files, added to the roots; NULL-terminated, or NULL */
    const char *client_certificate;  /* PEM file, leaf first; NULL: none */
    const char *client_key;          /* PEM file, without passphrase */
};

/*
 * Read the files. ERROR_CONFIG names the file: unreadable, no certificate in it, the key does not
 * belong to the certificate. `roots` must outlive the trust. Nothing in `options` is kept.
 */
int trust_new(struct roots *roots, const struct trust_options *options, struct trust **ret,
              struct error *err);
void trust_free(struct trust *t); /* takes NULL; wipes the key */

bool trust_skips_verify(const struct trust *t); /* t may be NULL: the roots alone */
/* A number of its own for each trust, 0 for NULL: connections are never shared between two. */
unsigned trust_id(const struct trust *t);

/* For the transport: give a new SSL_CTX its roots and, if asked, the client certificate. t may be
 * NULL. -1 when OpenSSL refuses. */
int trust_apply(const struct trust *t, struct roots *roots, bool client_certificate,
                struct ssl_ctx_st *ctx);
