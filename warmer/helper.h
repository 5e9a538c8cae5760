/*
 * Credential helpers: docker-credential-NAME, the programs that docker's config.json names, spoken
 * to as docker does (docker-credential-helpers): "get" as the only argument, the registry on
 * standard input, {"ServerURL", "Username", "Secret"} on standard output.
 *
 * A helper is started without a shell, from an absolute directory of $PATH, in a process group of
 * its own, with none of our descriptors, our signals' default, and our environment. What it says on
 * standard error is dropped: shells that trace write secrets there. However it ends, or is ended,
 * it and its group are killed and reaped; as PID 1 we reap what its children left to us, too.
 */
#pragma once

#include "authfile.h"
#include "cachedir/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HELPER_NAME_MAX 64
#define HELPER_OUTPUT_MAX (64 << 10)                 /* bytes; more is a failure */
#define HELPER_TIMEOUT_NS (INT64_C(30) * 1000000000) /* docker has none, and hangs */

/* [A-Za-z0-9._-]+, and not too long: then it cannot leave the directories of $PATH. */
bool helper_name_is_good(const char *name);

/*
 * What a helper that exited with 0 said. Pure. 1: *ret is filled, but for its source; a user name
 * "<token>" means that the secret is an identity token. 0: it says by an empty answer that it has
 * nothing. -1: ERROR_CONFIG, quoting nothing.
 */
int helper_output_parse(const char *bytes, size_t len, struct credential *ret, struct error *err);

/* Does a helper that failed say, in docker's words, that it just does not know the registry? Pure.
 */
bool helper_says_none(const char *bytes, size_t len);

/*
 * Ask docker-credential-<name> about `server`. Blocks; ends within a tenth of a second when *stop
 * becomes true. 1, 0 and -1 as above. ERROR_CONFIG: no such program, or its answer makes no sense;
 * ERROR_TRANSIENT: it failed, or took longer than `timeout_ns`; ERROR_INTERRUPTED.
 */
int helper_ask(const char *name, const char *server, int64_t timeout_ns, const atomic_bool *stop,
               struct credential *ret, struct error *err);

/* As PID 1, and only then: reap what helpers left to us. For SIGCHLD; any thread. */
void helper_reap_orphans(void);
