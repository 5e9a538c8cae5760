/*
 * What we know of each registry: how to speak to it, and how it behaved. Shared by all workers.
 *
 * A struct host lives until hosts_free(). Its first members never change; all others are read and
 * written through the functions below, which take hosts' one mutex and hold no other lock.
 */
#pragma once

#include "address.h"
#include "cachedir/digest.h"
#include "cachedir/error.h"
#include "challenge.h"
#include "http.h"
#include "place.h"
#include "registry.h"

#include <stdbool.h>
#include <stdint.h>

#define HOST_DEAD_NS (INT64_C(30) * 1000000000) /* not asked, when another place is left */
#define HOST_SLOW_MAX_NS                                                                           \
    (INT64_C(60) * 1000000000) /* our own waits after 429 and 503 grow so far */
#define HOST_ASKED_MAX_NS                                                                          \
    (INT64_C(300) * 1000000000) /* a Retry-After beyond it holds up nobody                         \
                                 */
#define HOST_SKIPS_MAX 3 /* transfers of a blob from its start, for want of ranges, in vain */

struct hosts;
struct host {
    char *registry;            /* as options and credentials name it */
    char *authority;           /* what is connected to */
    const struct trust *trust; /* NULL: the roots alone */
    bool plain_allowed;        /* plain HTTP, when there is no TLS */
    bool plain_wanted;         /* and when its certificate is not trusted */
};

/* Reads the certificates. ERROR_CONFIG, ERROR_USAGE. */
int hosts_new(const struct registry_options *options, struct http *http, struct hosts **ret,
              struct error *err);
void hosts_stop(struct hosts *hosts); /* after http_stop(): wake who waits */
void hosts_free(struct hosts *hosts); /* after all clients, before http_free(); takes NULL */

struct host *hosts_get(struct hosts *hosts, const struct place *place);

/* ---- scheme ----
 *
 * https, unless plain HTTP is allowed: then https is tried first, once a run, by one worker while
 * others wait: whoever gets UNKNOWN must find out and say so. */
enum host_scheme { HOST_UNKNOWN, HOST_HTTPS, HOST_HTTP };

int host_scheme(struct hosts *hosts, struct host *host, enum host_scheme *ret, struct error *err);
void host_scheme_found(struct hosts *hosts, struct host *host, enum host_scheme scheme);

/* ---- authorization ---- */

/* The last challenge; false: it never challenged. *ret is owned. */
bool host_challenge(struct hosts *hosts, struct host *host, struct challenge *ret);
void host_challenged(struct hosts *hosts, struct host *host, const struct challenge *challenge);
/* Repositories that the stored credential may not see, but anybody may. */
bool host_is_anonymous(struct hosts *hosts, struct host *host, const char *repository);
void host_set_anonymous(struct hosts *hosts, struct host *host, const char *repository);
/* The scope that a repository's tokens need when the usual one was not enough; owned, or NULL. */
char *host_scope(struct hosts *hosts, struct host *host, const char *repository);
void host_set_scope(struct hosts *hosts, struct host *host, const char *repository,
                    const char *scope);

/* ---- how it behaves ---- */

/* Something answered at an address of this class. */
void host_answered(struct hosts *hosts, struct host *host, enum address_class class);
/* Of its own connection; ADDRESS_PUBLIC when there was none yet. */
enum address_class host_class(struct hosts *hosts, struct host *host);

void host_well(struct hosts *hosts, struct host *host); /* an answer that is no complaint */
/* 429 or 503: `retry_after_ns` is what it asked for, or -1. */
void host_slow(struct hosts *hosts, struct host *host, int64_t retry_after_ns, int64_t now_ns);
void host_dead(struct hosts *hosts, struct host *host, int64_t now_ns);   /* no answer at all */
void host_ailing(struct hosts *hosts, struct host *host, int64_t now_ns); /* 5xx */
int64_t host_ready_at(struct hosts *hosts, struct host *host);            /* after host_slow() */
/* May it be asked, when another could be asked instead? By tag an ailing host may, too: the builder
 * will ask it, and what counts is what it tells the builder. */
bool host_usable(struct hosts *hosts, struct host *host, bool by_tag, int64_t now_ns);

/* ---- ranges ---- */

bool host_has_ranges(struct hosts *hosts, struct host *host); /* true until it is known better */
void host_ignores_ranges(struct hosts *hosts, struct host *host);
/* One more transfer of this blob begins at its start for want of ranges: how many did so in vain.
 */
unsigned host_skips(struct hosts *hosts, struct host *host, const struct digest *blob);
void host_skip_worked(struct hosts *hosts, struct host *host, const struct digest *blob);

/* true the first time that this is said of the host. */
bool host_says_first(struct hosts *hosts, struct host *host, const char *what);
