#include "secret.h"

#include "cachedir/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

void secret_free(char *text)
{
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
}

static void *json_allocate(size_t size)
{
    return xmalloc(size);
}

static void json_wipe(void *block)
{
    if (block)
        OPENSSL_cleanse(block, malloc_usable_size(block));
    free(block);
}

static void set_json_functions(void)
{
    json_set_alloc_funcs(json_allocate, json_wipe);
}

void secret_json_memory(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_json_functions);
}

char *secret_base64(const char *text)
{
    size_t len = 0, room = strlen(text) + 4;
    char *clean = xmalloc(room);
    for (const char *p = text; *p; p++)
        if (!strchr(" \t\r\n", *p))
            clean[len++] = *p;
    while (len > 0 && clean[len - 1] == '=')
        len--;
    size_t padding = (4 - len % 4) % 4;
    clean[len] = '\0';
    bool good = padding != 3 && strspn(clean, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "abcdefghijklmnopqrstuvwxyz0123456789+/") == len;
    memset(clean + len, '=', padding);
    clean[len + padding] = '\0';
    unsigned char *out = xcalloc(1, room);
    int n = good ? EVP_DecodeBlock(out, (const unsigned char *)clean, (int)(len + padding)) : -1;
    secret_free(clean);
    if (n < (int)padding) {
        free(out);
        return NULL;
    }
    size_t decoded = (size_t)n - padding;
    /* Docker pads passwords with NULs, and strips them. One in the middle is none of its own. */
    while (decoded > 0 && out[decoded - 1] == '\0')
        decoded--;
    if (memchr(out, '\0', decoded)) {
        OPENSSL_cleanse(out, room);
        free(out);
        return NULL;
    }
    out[decoded] = '\0';
    return (char *)out;
}

/* ---- files ---- */

/* All that comes. */
static int read_all(int fd, const char *path, struct secret_file *f, struct error *err)
{
    size_t room = 4096;
    f->bytes = xmalloc(room);
    for (;;) {
        if (f->len + 1 == room) { /* a NUL goes behind it */
            char *bigger = xmalloc(room * 2);
            memcpy(bigger, f->bytes, f->len);
            OPENSSL_cleanse(f->bytes, f->len);
            free(f->bytes);
            f->bytes = bigger;
            room *= 2;
        }
        ssize_t n = read(fd, f->bytes + f->len, room - 1 - f->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, ERROR_CONFIG, "%s: cannot read it: %s", path, strerror(errno));
        f->len += (size_t)n;
        if (f->len > SECRET_FILE_BYTES_MAX)
            return error_set(err, ERROR_CONFIG, "%s: more than %d bytes", path,
                             SECRET_FILE_BYTES_MAX);
        if (n == 0) {
            f->bytes[f->len] = '\0';
            return 0;
        }
    }
}

int secret_file_read(const char *path, struct secret_file *ret, struct error *err)
{
    *ret = (struct secret_file){0};
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set(err, ERROR_CONFIG, "%s: cannot open it: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return error_set(err, ERROR_CONFIG,
                         "%s is a directory, not a file: was a Secret mounted one level too deep?",
                         path);
    ret->regular = S_ISREG(st.st_mode);
    ret->mode = st.st_mode & 07777;
    if (read_all(fd, path, ret, err) == 0)
        return 0;
    secret_file_release(ret);
    return -1;
}

void secret_file_release(struct secret_file *f)
{
    if (f->bytes)
        OPENSSL_cleanse(f->bytes, f->len);
    free(f->bytes);
    *f = (struct secret_file){0};
}

char *secret_file_exposed(const struct secret_file *f, const char *path)
{
    if (!f->bytes || !f->regular || !(f->mode & S_IROTH))
        return NULL;
    return xasprintf("%s holds secrets, and everybody may read it (mode %04o): chmod 600 would "
                     "mend that, or, of a Secret's volume, defaultMode: 0400",
                     path, f->mode);
}
