/* For tests of what is printed: stderr goes to a file for a while, or to a terminal of ours. */
#pragma once

#include <stddef.h>

void capture_begin(void);
char *capture_end(void); /* what was written meanwhile; owned */

/* A pseudo-terminal of this size becomes stderr, with TERM=xterm. */
struct terminal;
struct terminal *terminal_new(unsigned short columns, unsigned short rows);
void terminal_resize(struct terminal *t, unsigned short columns, unsigned short rows);
/* Wait until this is written to it, anew; the test's time limit is the only other end. */
void terminal_await(struct terminal *t, const char *text);
/* Stderr is the old one again; all that was written to the terminal. Owned. */
char *terminal_end(struct terminal *t);
/* Its other side: a terminal's file descriptor. */
int terminal_fd(const struct terminal *t);
