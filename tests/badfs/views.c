#include "views.h"

#include "faults.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct view {
    struct view *next;
    char *directory;
    int64_t until; /* CLOCK_MONOTONIC, ms */
    char **names;
    size_t count;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards `views` */
static struct view *views;

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static char *parent_of(const char *path)
{
    const size_t len = (size_t)(strrchr(path, '/') - path);
    char *parent = len > 0 ? strndup(path, len) : strdup("/");
    if (!parent)
        abort();
    return parent;
}

/* With the mutex held. */
static void forget_view(const char *directory)
{
    for (struct view **v = &views; *v; v = &(*v)->next) {
        struct view *old = *v;
        if (strcmp(old->directory, directory) != 0)
            continue;
        *v = old->next;
        for (size_t i = 0; i < old->count; i++)
            free(old->names[i]);
        free(old->names);
        free(old->directory);
        free(old);
        return;
    }
}

/* With the mutex held. NULL: there is no such directory. */
static struct view *look_now(int root, const char *directory, int64_t late)
{
    int fd = openat(root, directory[1] ? directory + 1 : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    struct view *new = calloc(1, sizeof *new);
    struct dirent *entry;
    if (!new || !(new->directory = strdup(directory)))
        abort();
    if (!stream) {
        if (fd >= 0)
            close(fd);
        free(new->directory);
        free(new);
        return NULL;
    }
    while ((entry = readdir(stream))) {
        new->names = reallocarray(new->names, new->count + 1, sizeof *new->names);
        if (!new->names || !(new->names[new->count++] = strdup(entry->d_name)))
            abort();
    }
    closedir(stream);
    new->until = now_ms() + late;
    new->next = views;
    views = new;
    return new;
}

/* With the mutex held. */
static struct view *view_of(int root, const char *directory, int64_t late)
{
    for (struct view *v = views; v; v = v->next)
        if (strcmp(v->directory, directory) == 0) {
            if (now_ms() < v->until)
                return v;
            forget_view(directory);
            break;
        }
    return look_now(root, directory, late);
}

bool views_hide(int root, const char *directory, const char *name)
{
    const int64_t late = faults_late();
    bool unseen = false;
    pthread_mutex_lock(&mutex);
    const struct view *v = late > 0 ? view_of(root, directory, late) : NULL;
    if (v) {
        unseen = true;
        for (size_t i = 0; i < v->count && unseen; i++)
            unseen = strcmp(v->names[i], name) != 0;
    }
    pthread_mutex_unlock(&mutex);
    return unseen;
}

bool views_hide_path(int root, const char *path)
{
    char *parent = parent_of(path);
    bool unseen = path[1] && views_hide(root, parent, strrchr(path, '/') + 1);
    free(parent);
    return unseen;
}

void views_forget(const char *path)
{
    char *parent = parent_of(path);
    pthread_mutex_lock(&mutex);
    forget_view(parent);
    forget_view(path);
    pthread_mutex_unlock(&mutex);
    free(parent);
}
