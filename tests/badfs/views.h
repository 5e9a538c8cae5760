/* What this node saw of a directory when it last looked: NFS' caches of names, as badfs' late=. */
#pragma once

#include <stdbool.h>

/* Is it a name that somebody else made less than `late` ms ago, and so not known here yet? */
bool views_hide(int root, const char *directory, const char *name);
bool views_hide_path(int root, const char *path);
/* We change the directory that this is in, or tried to, and so the server tells what is in it. */
void views_forget(const char *path);
