/*
 * Files below a directory descriptor. The volume is shared with strangers: nothing here follows a
 * symlink below the descriptor or leaves it, and modes do not depend on the umask.
 *
 * These return -1 and set errno, like the system calls they stand for; the caller, who knows what
 * the file is, makes the error (error_errno()).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), or component by component where the kernel (or
 * fs_without_openat2) lacks it. O_CLOEXEC is added. A symlink anywhere is ELOOP. */
int fs_open(int dir, const char *path, int flags, mode_t mode);
extern bool fs_without_openat2; /* for tests: pretend that the kernel lacks it */

/* The same for a directory; O_PATH is not used, so that it can be read and synced. */
int fs_open_directory(int dir, const char *path);

/* Make a directory of exactly this mode if it is missing, and open it. */
int fs_make_directory(int dir, const char *name, mode_t mode);

/* Read a whole regular file of at most `max` bytes (else EFBIG; not a regular file: EINVAL). A NUL
 * is appended. Owned. Never blocks on a FIFO. */
int fs_read(int dir, const char *path, size_t max, char **ret, size_t *ret_len);

/* May we read the file? `st` is what stands there. */
bool fs_may_read(int dir, const char *name, const struct stat *st);

/* Where a function reads a part of a file that begins at some byte: instead, all of it, which must
 * have the size that was said. */
#define WHOLE_FILE INT64_C(-1)

/* pread(2) until all is read; EIO where the file ends before. */
int fs_pread_all(int fd, void *buf, size_t len, off_t offset);

/* Create `name` (which must not exist) with exactly this mode and content, synced. */
int fs_create(int dir, const char *name, mode_t mode, const void *data, size_t len);

/* write(2), pwrite(2) until all is written. */
int fs_write_all(int fd, const void *data, size_t len);
int fs_pwrite_all(int fd, const void *data, size_t len, off_t offset);

/* Copy all of `from` into the empty file `to`: a reflink where `reflink` and the file system allow
 * it, else its bytes (by the kernel where it can). */
int fs_copy(int from, int to, bool reflink);

/* Copy `len` bytes between two places: what of it stands at the blocks' bounds in both by a
 * reflink, where that is allowed and can be. A `from` that ends before is EIO. */
int fs_copy_range(int from, int64_t from_start, int to, int64_t to_start, int64_t len,
                  bool reflink);
#define FS_CLONE_BLOCK 4096 /* bounds that every file system with reflinks takes */

/* lstat below `dir`; the path may have several components, none a symlink. */
int fs_stat(int dir, const char *path, struct stat *ret);

/* renameat2(2) and linkat(2). An error is believed only after a look, for NFS repeats requests
 * whose answer was lost, and the second finds the first one's work: what stands under the new name
 * is the old one's inode, or it failed. */
int fs_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int fs_link(int from_dir, const char *from, int to_dir, const char *to);

/* fchmod(2) of what we made. A volume that keeps no modes (EPERM, ENOTSUP, ENOSYS) has its own way
 * of deciding who reads. */
int fs_set_mode(int fd, mode_t mode);

/* Unlink a file, or a directory with all that is in it. Missing is success. */
int fs_remove(int dir, const char *name);

/* "<prefix><16 hex digits>", random. */
#define FS_NAME_MAX 128
void fs_random_name(char name[FS_NAME_MAX], const char *prefix);

/* fsync(2) of a directory; file systems that know no such thing (EINVAL) are believed. */
int fs_sync_directory(int dir);

/* The names in a directory, sorted, without "." and ".."; NULL-terminated. Owned: fs_names_free. */
int fs_names(int dir, char ***ret, size_t *ret_count);
void fs_names_free(char **names);
static inline void fs_names_free_p_(char ***names)
{
    fs_names_free(*names);
}
#define cleanup_names __attribute__((cleanup(fs_names_free_p_)))
