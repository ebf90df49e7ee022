/* replace_file.h - a file's new content in place of its old one, all of it or nothing.
 *
 * Idea:    temporary file in the same folder, fsync, rename, fsync of the folder. If that fails, the old
 *          file is as it was and nothing is left behind; only when the last step fails is the new file
 *          there, and may not survive a power cut. A symbolic link is replaced itself.
 * Does not: lock: of two writers the last wins.
 * Threads: no state.
 * Memory:  none that lasts.
 * Errors:  ERR_NOT_FOUND no such folder, ERR_INTERNAL I/O, those of write; the message begins with the
 *          path.
 */
#ifndef MODEL_REPLACE_FILE_H
#define MODEL_REPLACE_FILE_H

#include "base/error.h"

#include <stdio.h>

/* write puts the whole content out; what it leaves in the stream's buffer is flushed. */
bool replace_file(const char *path, bool (*write)(const void *ctx, FILE *out, struct error *err),
                  const void *ctx, struct error *err) MUST_CHECK;

#endif
