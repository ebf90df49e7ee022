/* probe.h - a look from outside at the points where a crash would matter most.
 *
 * Idea:    the journal and the GitHub thread say what they are about to do or have done; the test that
 *          kills the program at each of these points listens. The program itself passes NULL.
 * Threads: called on whatever thread passes the point.
 */
#ifndef SERVER_RELAY_PROBE_H
#define SERVER_RELAY_PROBE_H

struct relay_probe {
    void (*at)(void *ctx, const char *point);
    void *ctx;
};

static inline void relay_probe_at(const struct relay_probe *probe, const char *point)
{
    if (probe != NULL)
        probe->at(probe->ctx, point);
}

#endif
