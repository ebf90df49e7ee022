#include "model/replace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ATTEMPTS = 100 };

static bool io_error(const char *path, struct error *err)
{
    return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, "%s: %s", path,
                     strerror(errno));
}

/* Opens the folder the path is in; *name is the rest of the path. */
static int open_folder(const char *path, const char **name, struct error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? strdup(".") : strndup(path, (size_t)(slash - path) + 1);
    if (folder == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
        return -1;
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        (void)io_error(folder, err);
    free(folder);
    *name = slash == NULL ? path : slash + 1;
    return fd;
}

/* A new file beside the old one, so that the rename stays within a file system. Names that a killed
 * program left behind are passed over. */
static FILE *open_temporary(int folder, const char *name, char *temporary, size_t capacity)
{
    int fd = -1;
    errno = EEXIST;
    for (int i = 0; fd < 0 && errno == EEXIST && i < ATTEMPTS; i++) {
        if (snprintf(temporary, capacity, ".%s.%d", name, i) >= (int)capacity) {
            errno = ENAMETOOLONG;
            return NULL;
        }
        fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    }
    FILE *out = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (fd >= 0 && out == NULL) {
        (void)close(fd);
        (void)unlinkat(folder, temporary, 0);
    }
    return out;
}

/* Writes everything down to the disk. */
static bool write_durably(const char *path,
                          bool (*write)(const void *ctx, FILE *out, struct error *err),
                          const void *ctx, FILE *out, struct error *err)
{
    if (!write(ctx, out, err)) {
        error_prefix(err, "%s", path);
        return false;
    }
    return (fflush(out) == 0 && fsync(fileno(out)) == 0) || io_error(path, err);
}

/* Some file systems cannot sync a folder and say EINVAL; there is nothing to be done about that. */
static bool move(int folder, const char *temporary, const char *name, const char *path,
                 struct error *err)
{
    if (renameat(folder, temporary, folder, name) != 0)
        return io_error(path, err);
    return fsync(folder) == 0 || errno == EINVAL || io_error(path, err);
}

bool replace_file(const char *path, bool (*write)(const void *ctx, FILE *out, struct error *err),
                  const void *ctx, struct error *err)
{
    char temporary[NAME_MAX + 1];
    const char *name;
    int folder = open_folder(path, &name, err);
    if (folder < 0)
        return false;
    bool ok = false;
    FILE *out = open_temporary(folder, name, temporary, sizeof temporary);
    if (out == NULL) {
        (void)io_error(path, err);
        goto out;
    }
    ok = write_durably(path, write, ctx, out, err);
    (void)fclose(out); /* synced: nothing is left to fail */
    ok = ok && move(folder, temporary, name, path, err);
    if (!ok)
        (void)unlinkat(folder, temporary, 0);
out:
    (void)close(folder);
    return ok;
}
