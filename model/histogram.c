#include "model/histogram.h"

#include <math.h>
#include <string.h>

static const int score_least_exponent = -SCORE_OCTAVES / 2;

/* From low to high, exact at both ends; high - low might overflow. */
static double between(double low, double high, double share)
{
    return fmin(fmax(low + (high / 2 - low / 2) * (2 * share), low), high);
}

static void set_edges(struct histogram *h, const double *quantiles, double least, double greatest)
{
    double *edge = h->edges;
    for (size_t i = 0; i <= MODEL_QUANTILES; i++) {
        double low = i == 0 ? least : quantiles[i - 1];
        double high = i == MODEL_QUANTILES ? greatest : quantiles[i];
        for (size_t k = 0; k < HISTOGRAM_EDGES_PER_GAP; k++)
            *edge++ = between(low, high, (double)k / HISTOGRAM_EDGES_PER_GAP);
    }
    *edge = greatest;
}

void histogram_init(struct histogram *h, const double *quantiles, double least, double greatest)
{
    memset(h, 0, sizeof *h);
    h->least = INFINITY;
    h->greatest = -INFINITY;
    if (quantiles != NULL)
        set_edges(h, quantiles, least, greatest);
}

/* Edges below x, of which there are `count` to look at. */
static size_t edges_below(const double *edges, size_t count, double x)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (edges[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Cell 2a lies between the edges a - 1 and a; where x is edge a and its equals up to b - 1, it is a + b. */
static size_t cell_of(const struct histogram *h, double x)
{
    size_t below = edges_below(h->edges, HISTOGRAM_EDGES, x), upto = below;
    while (upto < HISTOGRAM_EDGES && h->edges[upto] == x)
        upto++;
    return below + upto;
}

void histogram_add(struct histogram *h, double x)
{
    h->least = fmin(h->least, x);
    h->greatest = fmax(h->greatest, x);
    h->cells[cell_of(h, x)]++;
}

void histogram_merge(struct histogram *h, const struct histogram *part)
{
    h->least = fmin(h->least, part->least);
    h->greatest = fmax(h->greatest, part->greatest);
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++)
        h->cells[i] += part->cells[i];
}

bool histogram_subtract(struct histogram *h, const struct histogram *part)
{
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++) {
        if (part->cells[i] > h->cells[i])
            return false;
        h->cells[i] -= part->cells[i];
    }
    return true;
}

/* The value with a share of the cell's values below it. */
static double value_in(const struct histogram *h, size_t cell, double share)
{
    size_t a = cell / 2;
    if (cell % 2 == 1) /* on the edge a, or in the middle of an odd run of equals */
        return h->edges[a];
    double low = a == 0 ? h->least : h->edges[a - 1];
    double high = a == HISTOGRAM_EDGES ? h->greatest : h->edges[a];
    return fmin(fmax(between(low, high, share), h->least), h->greatest);
}

void histogram_quantiles(const struct histogram *h, double *quantiles)
{
    double count = 0, below = 0;
    size_t cell = 0;
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++)
        count += (double)h->cells[i];
    for (size_t i = 0; i < MODEL_QUANTILES; i++) {
        double rank = ((double)i + 0.5) / MODEL_QUANTILES * count;
        while (cell + 1 < HISTOGRAM_CELLS && below + (double)h->cells[cell] < rank)
            below += (double)h->cells[cell++];
        double share = (rank - below) / fmax((double)h->cells[cell], 1);
        quantiles[i] = value_in(h, cell, fmin(fmax(share, 0), 1));
        if (i > 0) /* rounding */
            quantiles[i] = fmax(quantiles[i], quantiles[i - 1]);
    }
}

/* ---- scores ---- */

size_t score_cell(double score)
{
    int exponent;
    double fraction = 2 * frexp(score, &exponent) - 1; /* score = (1 + fraction) 2^(exponent - 1) */
    if (!(score >= ldexp(1, score_least_exponent)))
        return 0;
    if (!(score < ldexp(1, score_least_exponent + SCORE_OCTAVES)))
        return SCORE_CELLS - 1;
    size_t octave = (size_t)(exponent - 1 - score_least_exponent);
    return 1 + octave * SCORE_CELLS_PER_OCTAVE + (size_t)(fraction * SCORE_CELLS_PER_OCTAVE);
}

double score_bound(size_t cell)
{
    if (cell == SCORE_CELLS - 1)
        return INFINITY;
    int octave = (int)(cell / SCORE_CELLS_PER_OCTAVE);
    double fraction = (double)(cell % SCORE_CELLS_PER_OCTAVE) / SCORE_CELLS_PER_OCTAVE;
    return ldexp(1 + fraction, octave + score_least_exponent);
}
