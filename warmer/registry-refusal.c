/* What is said when a registry refuses: its words, and whose credentials it was. */
#include "registry-internal.h"

#include "cachedir/alloc.h"
#include "failure.h"

void exchange_append_source(struct exchange *x, struct error *err)
{
    struct dance *d = &x->dance;
    if (d->trouble.kind ==
        ERROR_INTERRUPTED) { /* who has no credentials yet is refused, of course */
        (void)error_set(err, ERROR_INTERRUPTED, "%s", d->trouble.message);
        return;
    }
    const char *source = d->credential.source;
    char *said = err->message;
    if (d->dropped) {
        err->message = xasprintf("%s; with the stored credentials, and without", said);
    } else if (!source) {
        cleanup_free char *missing =
            credentials_missing(x->client->registries->credentials, x->place->registry);
        const bool troubled = d->trouble.kind != ERROR_NONE;
        err->message = xasprintf("%s; %s%s%s", said, missing, troubled ? "; " : "",
                                 troubled ? d->trouble.message : "");
        /* A helper that may do better next time is worth another try. */
        if (troubled)
            err->kind = error_worse(err->kind, d->trouble.kind);
    } else {
        err->message = xasprintf("%s; %s %s", said,
                                 d->had_authorization ? "with the credentials from"
                                                      : "it did not ask for the credentials in",
                                 source);
    }
    free(said);
}

int exchange_refused(struct exchange *x, struct error *err)
{
    struct error said = {0};
    int status = x->response.status;
    failure_set(x->method, x->asked, &x->response, &said);
    if (status / 100 == 3) {
        (void)error_prefix(&said, "a redirect that leads nowhere");
    } else if (x->place && !x->elsewhere && (status == 401 || status == 403)) {
        cleanup_challenge struct challenge c = {0};
        if (status == 401 && !host_challenge(x->client->registries->hosts, x->host, &c))
            (void)error_prefix(&said, "it does not say how to authenticate");
        exchange_append_source(x, &said);
    }
    error_move(err, &said);
    return -1;
}
