#include "disk.h"

#include "cachedir/alloc.h"

#include <ftw.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static struct disk *seen; /* nftw(3) passes nothing on */
static size_t skip;       /* of the names: the directory's own */

static int see(const char *name, const struct stat *st, int type, struct FTW *where)
{
    const bool entry = where->level == 1 && type == FTW_D && strstr(name, "/sha256:");
    if (type == FTW_F || entry)
        *array_add(seen->files, seen->count) = (struct disk_file){
            xstrdup(name + skip), st->st_ino, entry ? 0 : st->st_size, time(NULL) - st->st_mtime};
    return 0;
}

void disk_release(struct disk *d)
{
    for (size_t i = 0; i < d->count; i++)
        free(d->files[i].name);
    free(d->files);
    *d = (struct disk){0};
}

void disk_look(struct disk *d, const char *path)
{
    disk_release(d);
    seen = d;
    skip = strlen(path) + 1;
    if (nftw(path, see, 16, FTW_PHYS) != 0)
        abort();
}

const struct disk_file *disk_find(const struct disk *d, const char *name)
{
    for (size_t i = 0; i < d->count; i++)
        if (strcmp(d->files[i].name, name) == 0)
            return &d->files[i];
    return NULL;
}

static bool is_counted(const char *name)
{
    return strchr(name, '/') && strcmp(name, ".basewarm/format") != 0 && !strstr(name, "lock");
}

int64_t disk_size(const char *path)
{
    struct disk d = {0};
    int64_t sum = 0;
    disk_look(&d, path);
    for (size_t i = 0; i < d.count; i++) {
        bool counted = !is_counted(d.files[i].name);
        for (size_t j = 0; j < i && !counted; j++)
            counted = d.files[j].inode == d.files[i].inode && is_counted(d.files[j].name);
        sum += counted ? 0 : d.files[i].size;
    }
    disk_release(&d);
    return sum;
}
