/* model/data.sh in a project of its own, whose neighbours, mirrors and table are the test's. A small table
 * never has the digest of the real one, so what was derived from it shows as the digest it is refused for. */
#define _GNU_SOURCE /* setenv, get_current_dir_name */
#include "tests/support/t.h"
#include "tests/support/process.h"

#include <sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    char folder[512];
    char project[600]; /* with tests/ in it, beside shared/ */
    char *root;        /* the real project */
};

static char output[1 << 16]; /* of the last run */

/* Runs shell in the test's project; $root is the real one. */
static int run_shell(const struct place *p, const char *script)
{
    char line[2048];
    assert_int_equal(setenv("root", p->root, 1), 0);
    (void)snprintf(line, sizeof line, "set -e; cd '%s'; %s", p->project, script);
    const char *const argv[] = {"/bin/sh", "-c", line, NULL};
    return process_run(argv, output, sizeof output);
}

static void must(const struct place *p, const char *script)
{
    if (run_shell(p, script) != 0)
        fail_msg("%s:\n%s", script, output);
}

static int make_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    process_folder(p->folder, sizeof p->folder);
    (void)snprintf(p->project, sizeof p->project, "%s/project", p->folder);
    assert_int_equal(mkdir(p->project, 0700), 0);
    assert_non_null(p->root = get_current_dir_name());
    must(p, "ln -s \"$root/tests\" tests; mkdir -p ../shared/data ../bin");
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    process_remove(p->folder);
    free(p->root);
    free(p);
    return 0;
}

static void write_file(const struct place *p, const char *name, const char *text)
{
    char path[1200];
    (void)snprintf(path, sizeof path, "%s/%s", p->project, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    (void)fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

/* ---- the columns ---- */

static const char statlib[] =
    "-122.230000,37.880000,41.000000,880.000000,129.000000,322.000000,126.000000,8.325200,452600."
    "000000\n"
    "-1.2222e+02,3.7860e+01,2.1e+01,7.099e+03,1.106e+03,2.401e+03,1.138e+03,8.3014e+00,3.585e+05\n";
static const char statlib_header[] =
    "longitude,latitude,housing_median_age,total_rooms,total_bedrooms,population,households,"
    "median_income,median_house_value\n";
#define NAMES                                                                                      \
    "MedInc,HouseAge,AveRooms,AveBedrms,Population,AveOccup,Latitude,Longitude,MedHouseVal"
static const char learn_form[] = NAMES
    "\n"
    "8.3252,41.0,6.984126984126984,1.0238095238095237,322.0,2.5555555555555554,37.88,-122.23,4."
    "526\n"
    "8.3014,21.0,6.238137082601054,0.9718804920913884,2401.0,2.109841827768014,37.86,-122.22,3."
    "585\n";

/* Every number of learn_form with 17 significant digits, as C prints it. */
static void expected_digest(char hex[SHA256_DIGEST_STRING_LENGTH])
{
    char copy[sizeof learn_form], text[2048], *p = text, *at;
    memcpy(copy, learn_form, sizeof copy);
    p += sprintf(p, "%s\n", NAMES);
    at = strchr(copy, '\n') + 1;
    while (*at != '\0') {
        double value = strtod(at, &at);
        p += sprintf(p, "%.17g%c", value, *at++);
    }
    (void)SHA256Data((const uint8_t *)text, (size_t)(p - text), hex);
}

static void either_form_of_the_table_gives_the_derived_columns(void **state)
{
    struct place *p = *state;
    char hex[SHA256_DIGEST_STRING_LENGTH], got[128];
    expected_digest(hex);
    (void)snprintf(got, sizeof got, "got %s", hex);
    write_file(p, "plain", statlib);
    write_file(p, "names", statlib_header);
    write_file(p, "learn", learn_form);
    must(p,
         "cat names plain >with_header; sed 's/$/\\r/' with_header >crlf; sed 's/$/\\r/' learn "
         ">crlf2;"
         "mkdir CaliforniaHousing; cp plain CaliforniaHousing/cal_housing.data;"
         "tar -czf a.tgz CaliforniaHousing; cp plain 'with blank'");
    static const char *const ways[] = {"sh $root/model/data.sh plain",
                                       "sh $root/model/data.sh with_header",
                                       "sh $root/model/data.sh crlf",
                                       "sh $root/model/data.sh learn",
                                       "sh $root/model/data.sh crlf2",
                                       "sh $root/model/data.sh a.tgz",
                                       "DATA=learn sh $root/model/data.sh",
                                       "sh $root/model/data.sh 'with blank'",
                                       "make -s -f $root/Makefile -I $root data DATA='with blank'"};
    must(p, "ln -s \"$root/model\" model");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int code = run_shell(p, ways[i]);
        assert_contains(output, got);
        assert_int_not_equal(code, 0);
        assert_int_not_equal(run_shell(p, "ls data"), 0);
    }
}

static void a_line_without_its_nine_numbers_is_named(void **state)
{
    struct place *p = *state;
    write_file(p, "short", "1,2,3,4,5,6,7,8,9\n1,2,3,4,5,6,7,8\n");
    assert_int_equal(run_shell(p, "sh $root/model/data.sh short"), 1);
    assert_contains(output, "data: line 2: expected 9 numbers, got 8");
}

/* ---- where it comes from ---- */

/* A curl that notes what it was asked for and leaves its answer where it was told to. */
static const char false_curl[] =
    "#!/bin/sh\nfor a; do case $a in https:*) echo \"asked $a\" >&2;; esac; done\n"
    "while [ \"$1\" != -o ]; do shift; done\necho 'not the archive' >\"$2\"\nexit "
    "${curl_exit:-0}\n";

static void the_named_copy_comes_before_the_neighbour_and_that_before_the_mirrors(void **state)
{
    struct place *p = *state;
    write_file(p, "named", "1,2\n");
    write_file(p, "../shared/data/cal_housing.data", "1,2,3\n");
    write_file(p, "../bin/curl", false_curl);
    must(p, "chmod +x ../bin/curl");
    assert_int_equal(run_shell(p, "DATA=named PATH=../bin:$PATH sh $root/model/data.sh"), 1);
    assert_contains(output, "expected 9 numbers, got 2");
    assert_int_equal(run_shell(p, "PATH=../bin:$PATH sh $root/model/data.sh"), 1);
    assert_contains(output, "expected 9 numbers, got 3");
    write_file(p, "../shared/data/california_housing.csv", NAMES "\n1,2,3,4\n");
    assert_int_equal(run_shell(p, "PATH=../bin:$PATH sh $root/model/data.sh"), 1);
    assert_contains(output, "expected 9 numbers, got 4");
    assert_null(strstr(output, "asked"));
    assert_int_equal(run_shell(p, "PATH=../bin:$PATH sh $root/model/data.sh nowhere"), 1);
    assert_string_equal(output, "data: nowhere: no such file\n");
}

static void a_mirror_that_fails_or_lies_is_followed_by_the_next(void **state)
{
    struct place *p = *state;
    write_file(p, "../bin/curl", false_curl);
    must(p, "chmod +x ../bin/curl");
    static const char *const ways[] = {"curl_exit=22 PATH=../bin:$PATH sh $root/model/data.sh",
                                       "PATH=../bin:$PATH sh $root/model/data.sh"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(run_shell(p, ways[i]), 1);
        const char *first = strstr(output, "asked https://ndownloader.figshare.com/files/5976036"),
                   *second = strstr(output,
                                    "asked https://www.dcc.fc.up.pt/~ltorgo/Regression/"
                                    "cal_housing.tgz");
        if (first == NULL || second == NULL || second < first)
            fail_msg("%s", output);
        assert_contains(output, "make data DATA=FILE");
        if (i == 1)
            assert_contains(output,
                            "expected sha256 "
                            "aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681");
    }
}

/* ---- the real table ---- */

static void the_real_table_is_split_the_same_from_either_form(void **state)
{
    struct place *p = *state;
    if (access("../shared/data/cal_housing.data", R_OK) != 0 ||
        access("../shared/data/california_housing.csv", R_OK) != 0)
        t_skip("the California housing table is not beside the project");
    must(p,
         "rmdir ../shared/data; ln -s \"$root/../shared/data\" ../shared/data;"
         "sh $root/model/data.sh; mv data first;"
         "sh $root/model/data.sh ../shared/data/cal_housing.data; diff -r first data;"
         "[ $(wc -l <data/train.csv) = 16513 ]; [ $(wc -l <data/holdout.csv) = 4129 ];"
         "[ $(wc -l <data/california.csv) = 20641 ];"
         /* the first held-out rows are 0 and 3: lines 2 and 5 */
         "[ \"$(sed -n 5p data/california.csv)\" = \"$(sed -n 3p data/holdout.csv)\" ];"
         "[ \"$(sed -n 3p data/california.csv)\" = \"$(sed -n 2p data/train.csv)\" ];"
         "(sed 1d data/train.csv; cat data/holdout.csv) | sort >parts;"
         "sort data/california.csv | cmp - parts");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

static const struct CMUnitTest tests[] = {
    CASE(either_form_of_the_table_gives_the_derived_columns),
    CASE(a_line_without_its_nine_numbers_is_named),
    CASE(the_named_copy_comes_before_the_neighbour_and_that_before_the_mirrors),
    CASE(a_mirror_that_fails_or_lies_is_followed_by_the_next),
    CASE(the_real_table_is_split_the_same_from_either_form),
};

T_MAIN(tests)
