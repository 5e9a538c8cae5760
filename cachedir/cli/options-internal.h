/* What the texts that are made from an option table have in common. */
#pragma once

#include "options.h"

/* "-i, --image REF" in pieces: does the option take a value, and is it shown at all? */
static inline bool option_takes_value(const struct option_spec *s)
{
    return s->type != OPTION_BOOL;
}
static inline bool option_is_shown(const struct option_spec *s)
{
    return s->group != NULL;
}

/* The help with choices and default: "which failures count: any, all or never (default: any)". */
char *option_sentence(const struct option_spec *s);

/* Call `print` for the shown options, group by group in the order of first appearance. */
void options_each(const struct command_spec *command, void (*group)(FILE *out, const char *name),
                  void (*print)(FILE *out, const struct option_spec *s), FILE *out);
