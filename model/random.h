/* random.h - random numbers that are the same on every machine and in every run.
 *
 * Idea:    splitmix64: a counter, and a function that scatters it.
 * Does not: seed itself, or serve secrets.
 * Threads: the state belongs to its caller.
 * Memory:  none.
 * Errors:  none.
 * Source:  Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".
 */
#ifndef MODEL_RANDOM_H
#define MODEL_RANDOM_H

#include <stdint.h>

/* Any state is a seed. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

#endif
