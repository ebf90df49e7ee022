/* journal_rows.h - rows that follow from a number, for the tests of the feedback journal.
 *
 * Row n has the id "n/0", whole and broken numbers, and a version that needs quotes in CSV if n is a
 * multiple of 7.
 */
#ifndef TESTS_SUPPORT_JOURNAL_ROWS_H
#define TESTS_SUPPORT_JOURNAL_ROWS_H

#include "server/predictor/journal_reader.h"

enum { JOURNAL_ROWS_FEATURES = 3 };

struct made_row {
    struct journal_row row;
    char id[32];
    double features[JOURNAL_ROWS_FEATURES];
};

void made_row(struct made_row *out, uint64_t n);

/* Reads a line and fails the test unless it is that of some made row; returns its number. */
uint64_t made_row_number(struct span line);

/* A journal called "pod" in that folder with an fsync that does nothing; the caller may change it. */
struct journal_config journal_rows_config(const char *folder);

/* Starts, fails the test if that fails. */
struct journal *journal_rows_start(const struct journal_config *config);

/* Appends row n and waits until it is on disk; false if it is refused or fails. */
bool journal_rows_append(struct journal *journal, uint64_t n);

/* Appends rows first to first + count - 1, one at a time, failing the test if one fails. */
void journal_rows_fill(struct journal *journal, uint64_t first, uint64_t count);

/* Numbers of all rows a new reader returns, at most max; *report may be NULL. */
size_t journal_rows_read(struct journal *journal, uint64_t *numbers, size_t max,
                         struct journal_reader_report *report);

#endif
