/* What shall go wrong on a badfs, and when: badfs.c says in which words. Any thread may ask. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* RENAME is of a file; EXCHANGE is any rename with flags, beside what it is of; CLOSE is of a file
 * that was open for writing; COLON is the making of a name with a colon in it. */
#define FAULT_OPS(X)                                                                               \
    X(OPEN, "open")                                                                                \
    X(CREATE, "create")                                                                            \
    X(MKDIR, "mkdir")                                                                              \
    X(RENAME, "rename")                                                                            \
    X(RENAME_DIRECTORY, "rename-directory")                                                        \
    X(EXCHANGE, "exchange")                                                                        \
    X(LINK, "link")                                                                                \
    X(UNLINK, "unlink")                                                                            \
    X(RMDIR, "rmdir")                                                                              \
    X(READ, "read")                                                                                \
    X(WRITE, "write")                                                                              \
    X(FSYNC, "fsync")                                                                              \
    X(FSYNC_DIRECTORY, "fsync-directory")                                                          \
    X(CLOSE, "close")                                                                              \
    X(CHMOD, "chmod")                                                                              \
    X(TOUCH, "touch")                                                                              \
    X(TOUCH_DIRECTORY, "touch-directory")                                                          \
    X(TRUNCATE, "truncate")                                                                        \
    X(LIST, "list")                                                                                \
    X(STAT, "stat")                                                                                \
    X(LOCK, "lock")                                                                                \
    X(COLON, "colon")

enum op {
#define FAULT_OP(op, name) op,
    FAULT_OPS(FAULT_OP)
#undef FAULT_OP
        OP_COUNT
};

struct verdict {
    bool skip; /* the call is not made */
    int error; /* what is reported; 0: what it says itself */
};

#define FAULTS_TEXT_MAX 4096

/* Read the switches; all others are off. 0, or minus an error. */
int faults_set(const char *text, size_t len);
/* How often each kind was called, and failed by our doing. Returns its length. */
size_t faults_tell(char text[FAULTS_TEXT_MAX]);

struct verdict faults_judge(enum op op);
/* The same of READ and WRITE; *size becomes what can still be written before it fails. */
struct verdict faults_judge_bytes(enum op op, size_t *size);

/* Of LINK to a file that has so many names. */
struct verdict faults_judge_link(nlink_t names);

void faults_set_directory_time(struct stat *st); /* what a directory's mtime is said to be */
int64_t faults_late(void);                       /* ms */
