#include "capture.h"

#include "cachedir/alloc.h"

#include <pthread.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

#include <cmocka.h>

static FILE *file;
static int saved = -1;

static void divert(int fd)
{
    fflush(stderr);
    saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(fd, STDERR_FILENO) >= 0);
}

static void restore(void)
{
    fflush(stderr);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
}

void capture_begin(void)
{
    file = tmpfile();
    assert_non_null(file);
    divert(fileno(file));
}

char *capture_end(void)
{
    restore();
    off_t size = lseek(fileno(file), 0, SEEK_END);
    char *text = xmalloc((size_t)size + 1);
    assert_int_equal(pread(fileno(file), text, (size_t)size, 0), size);
    text[size] = '\0';
    fclose(file);
    return text;
}

struct terminal {
    int master, slave;
    pthread_t reader;
    pthread_mutex_t mutex; /* guards the text */
    pthread_cond_t more;
    char *text;
    size_t len;
};

static void *reader(void *userdata)
{
    struct terminal *t = userdata;
    char buffer[4096];
    ssize_t got;
    while ((got = read(t->master, buffer, sizeof buffer)) > 0) {
        pthread_mutex_lock(&t->mutex);
        t->text = xreallocarray(t->text, t->len + (size_t)got + 1, 1);
        memcpy(t->text + t->len, buffer, (size_t)got);
        t->len += (size_t)got;
        t->text[t->len] = '\0';
        pthread_cond_signal(&t->more);
        pthread_mutex_unlock(&t->mutex);
    }
    return NULL; /* EIO: the other side is closed */
}

struct terminal *terminal_new(unsigned short columns, unsigned short rows)
{
    struct terminal *t = xcalloc(1, sizeof *t);
    struct winsize size = {.ws_col = columns, .ws_row = rows};
    struct termios how;
    assert_int_equal(openpty(&t->master, &t->slave, NULL, NULL, &size), 0);
    assert_int_equal(tcgetattr(t->slave, &how), 0);
    how.c_oflag &= ~(tcflag_t)OPOST; /* the bytes as they were written */
    assert_int_equal(tcsetattr(t->slave, TCSANOW, &how), 0);
    t->text = xstrdup("");
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->more, NULL);
    assert_int_equal(setenv("TERM", "xterm", 1), 0);
    divert(t->slave);
    assert_int_equal(pthread_create(&t->reader, NULL, reader, t), 0);
    return t;
}

void terminal_resize(struct terminal *t, unsigned short columns, unsigned short rows)
{
    struct winsize size = {.ws_col = columns, .ws_row = rows};
    assert_int_equal(ioctl(t->slave, TIOCSWINSZ, &size), 0);
}

int terminal_fd(const struct terminal *t)
{
    return t->slave;
}

void terminal_await(struct terminal *t, const char *text)
{
    pthread_mutex_lock(&t->mutex);
    const size_t seen = t->len;
    while (!strstr(t->text + seen, text))
        pthread_cond_wait(&t->more, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
}

char *terminal_end(struct terminal *t)
{
    restore();
    close(t->slave);
    pthread_join(t->reader, NULL);
    close(t->master);
    pthread_mutex_destroy(&t->mutex);
    pthread_cond_destroy(&t->more);
    char *text = t->text;
    free(t);
    return text;
}
