/* How far long work is, on a terminal; in a pipe it is quiet. */
#include "model/cmd.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

bool cmd_progress_shown(void)
{
    return isatty(STDERR_FILENO);
}

static double seconds_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Rewrites the last line of the terminal, at most ten times a second. */
void cmd_show_progress(void *ctx, const char *stage, double fraction)
{
    struct cmd_progress *p = ctx;
    double now = seconds_now();
    if (p->stage == NULL || strcmp(p->stage, stage) != 0)
        *p = (struct cmd_progress){stage, now, 0};
    if (now - p->shown_s < 0.1)
        return;
    p->shown_s = now;
    (void)fprintf(stderr, "\r\033[K%s", stage);
    if (fraction > 0)
        (void)fprintf(stderr, " %.0f %%, %.0f s left", 100 * fraction,
                      (now - p->began_s) * (1 - fraction) / fraction);
}

void cmd_clear_progress(const struct cmd_progress *p)
{
    if (p->stage != NULL)
        (void)fputs("\r\033[K", stderr);
}
