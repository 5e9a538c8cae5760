/* What really stands in a cache directory, for tests of the store: not as the library sees it. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct disk_file { /* a file, or an entry as such, of size 0 */
    char *name;    /* below the directory */
    ino_t inode;
    int64_t size, age;
};

struct disk {
    struct disk_file *files;
    size_t count;
};

/* Begins with what `d` held; zeroed at first. */
void disk_look(struct disk *d, const char *path);
void disk_release(struct disk *d);
const struct disk_file *disk_find(const struct disk *d, const char *name); /* NULL: not there */

/* Entries, blobs and leftovers, each inode once, without the directory's own files and locks and
 * without strangers: what --max-size limits. */
int64_t disk_size(const char *path);
