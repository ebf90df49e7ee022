/* feedback_lines.h - feedback journals as text, for the tests of what reads them.
 *
 * The model is plane.h's: features a and b, -10 to 10 in training, target y.
 */
#ifndef TESTS_SUPPORT_FEEDBACK_LINES_H
#define TESTS_SUPPORT_FEEDBACK_LINES_H

#include <stdio.h>

#define FEEDBACK_LINES_HEADER "time,id,model_version,a,b,prediction,y,crc32\n"

/* Appends the text with its checksum as a line; text has no comma behind it. */
void feedback_lines_put(FILE *out, const char *text);

/* A row as the server writes it: version 1, prediction 0. */
void feedback_lines_row(FILE *out, double time, const char *id, double a, double b, double y);

#endif
